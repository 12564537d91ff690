//! Architectures that nothing but their files describes: tiny models on the reference and on the
//! test device, against what Hugging Face transformers computed (`tests/unseen/README.md`).

use quarrel_tests::tiny::{Tiny, check_device, check_reference};
use std::path::Path;

fn open(name: &str) -> Tiny {
    Tiny::open_in(&Path::new(env!("CARGO_MANIFEST_DIR")).join("unseen"), name)
}

macro_rules! check_each {
    ($($name:ident),*) => {
        $(mod $name {
            #[test]
            fn on_the_reference() {
                super::check_reference(&super::open(stringify!($name)));
            }

            #[test]
            fn on_the_device() {
                super::check_device(&super::open(stringify!($name)));
            }
        })*
    };
}

check_each!(cohere2, falcon_groups, glm4, mpt, phi2, stablelm_norms);
