//! From a built project to a package.
