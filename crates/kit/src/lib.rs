//! skep-kit
