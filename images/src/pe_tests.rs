//! Tests of the module pe.
