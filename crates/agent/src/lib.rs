//! skep-agent
