//! Tests of the module build.
