//! Mapping files parse and are refused with their line; folders that are wrong are refused by name.

mod folders;
mod mappings;
mod recipes;
