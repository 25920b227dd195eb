//! skep-agent
fn main() {}
