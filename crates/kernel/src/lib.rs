//! skep-kernel
