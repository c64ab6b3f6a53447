//! Tests of the module recipe.
