//! Tests of the module cpio.
