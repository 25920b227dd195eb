//! skep-hub
