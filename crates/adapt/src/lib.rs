//! skep-adapt
