//! Tests of the architecture language.

mod build;
