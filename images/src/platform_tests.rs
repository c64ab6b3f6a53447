//! Tests of the module platform.
