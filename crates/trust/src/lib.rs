//! skep-trust
