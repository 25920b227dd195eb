//! skep-object
