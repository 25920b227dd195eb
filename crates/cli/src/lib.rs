//! skep-cli
