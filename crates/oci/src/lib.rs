//! skep-oci
