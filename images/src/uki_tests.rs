//! Tests of the module uki.
