//! Tests of the module modules.
