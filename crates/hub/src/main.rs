//! skep-hub
fn main() {}
