//! Transforms, each on a small tensor.

use super::folders::{file, folder};
use crate::hf::{HfFolder, Mapping};
use quarrel_ir::weight::WeightSource;
use serde_json::{Value, json};

/// The shape and values of `out` where the folder holds `a.0` and `a.1` (2 × 4: 0 to 7 and 8 to 15)
/// and `v` (0 and 1).
fn made(source: &str) -> Result<(Vec<u64>, Vec<f32>), String> {
    let header = json!({
        "a.0": {"dtype": "F32", "shape": [2, 4], "data_offsets": [0, 32]},
        "a.1": {"dtype": "F32", "shape": [2, 4], "data_offsets": [32, 64]},
        "v": {"dtype": "F16", "shape": [2], "data_offsets": [64, 68]},
    });
    let matrices = (0..16).flat_map(|value| (value as f32).to_le_bytes());
    let data: Vec<u8> = matrices.chain([0x00, 0x00, 0x00, 0x3c]).collect();
    let config = json!({"architectures": ["C"], "n": 2, "list": [1.5, 2]});
    let place = folder(&[
        ("config.json", config.to_string().as_bytes()),
        ("model.safetensors", &file(&header, &data)),
    ]);
    let text = format!("class C\narch c\ntensor out = {source}");
    let mapping = Mapping::parse("c.map", &text).unwrap();
    let folder = HfFolder::open(place.path(), &[mapping]).map_err(|error| error.to_string())?;
    let info = folder.info("out").unwrap();
    let mut values = vec![0.0; info.elements() as usize];
    info.format.dequantize(&folder.bytes("out").unwrap(), &mut values);
    Ok((info.shape.clone(), values))
}

fn check(source: &str, shape: &[u64], values: &[f32]) {
    let (got_shape, got) = made(source).unwrap();
    assert_eq!(got_shape, shape, "{source}");
    assert_eq!(got, values, "{source}");
}

#[test]
fn each_transform_does_what_its_text_says() {
    check("v", &[2], &[0.0, 1.0]);
    check("transpose(a.0)", &[4, 2], &[0.0, 4.0, 1.0, 5.0, 2.0, 6.0, 3.0, 7.0]);
    check("transpose(v)", &[2], &[0.0, 1.0]);
    check("slice(a.0, 0, 1, 2)", &[1, 4], &[4.0, 5.0, 6.0, 7.0]);
    check("slice(a.0, 1, 1, n + 1)", &[2, 2], &[1.0, 2.0, 5.0, 6.0]);
    check(
        "concat(slice(a.1, 0, 0, 1), slice(a.0, 0, 0, 1))",
        &[2, 4],
        &[8.0, 9.0, 10.0, 11.0, 0.0, 1.0, 2.0, 3.0],
    );
    let all: Vec<f32> = (0..16).map(|value| value as f32).collect();
    check("stack(a.{e}, n)", &[2, 2, 4], &all);
    check(
        "slice(stack(a.{e}, n), 1, 1, 2)",
        &[2, 1, 4],
        &[4.0, 5.0, 6.0, 7.0, 12.0, 13.0, 14.0, 15.0],
    );
    check("add(v, 1)", &[2], &[1.0, 2.0]);
    check("neg_exp(v)", &[2], &[-1.0, -1f32.exp()]);
    check("numbers(list)", &[2], &[1.5, 2.0]);
    check("b or v", &[2], &[0.0, 1.0]);
    // Rows 0, 1 | 2, 3 of one head become 0, 2, 1, 3.
    let rows =
        [0.0, 1.0, 2.0, 3.0, 8.0, 9.0, 10.0, 11.0, 4.0, 5.0, 6.0, 7.0, 12.0, 13.0, 14.0, 15.0];
    check("permute(concat(a.0, a.1), 1)", &[4, 4], &rows);
    check("permute(concat(a.0, a.1), 2)", &[4, 4], &all);
    check("permute(v, 1)", &[2], &[0.0, 1.0]);
}

#[test]
fn what_does_not_fit_is_refused() {
    for (source, words) in [
        ("permute(a.0, 2)", "2 rows are not 2 heads"),
        ("permute(a.0, 0)", "0 heads"),
        ("transpose(stack(a.{e}, 2))", "no transpose"),
        ("slice(a.0, 2, 0, 1)", "axis 2"),
        ("slice(a.0, 0, 1, 3)", "1 to 3"),
        ("slice(a.0, 0, 1, 1)", "1 to 1"),
        ("concat(a.0, v)", "cannot be joined"),
        ("stack(a.{e}, 3)", "no tensor \"a.2\""),
        ("stack(a.{e}, 0)", "no tensors to join"),
        ("b or c", "no tensor \"b\""),
        ("numbers(n)", "list"),
        ("numbers(absent)", "absent"),
        ("add(v, absent)", "no `absent`"),
        ("llama3_factors(8, 10000, 8, 4, 4, 8192)", "not that of Llama 3"),
    ] {
        let error = made(source).expect_err(source);
        assert!(error.contains(words), "{source}: {error}");
    }
}

#[test]
fn every_asks_for_the_last_of_each_period() {
    let list =
        |text: &str| -> Value { text.chars().map(|c| c.to_string()).collect::<Vec<_>>().into() };
    let place = |kinds: &str| {
        let config = json!({"architectures": ["C"], "kinds": list(kinds)});
        let header = json!({"v": {"dtype": "F16", "shape": [1], "data_offsets": [0, 2]}});
        folder(&[
            ("config.json", config.to_string().as_bytes()),
            ("model.safetensors", &file(&header, &[0; 2])),
        ])
    };
    let text = "class C\narch c\nrequire every(3, kinds, \"f\") else \"no\"\ntensor v = v";
    let mapping = [Mapping::parse("c.map", text).unwrap()];
    for (kinds, holds) in
        [("ssfss", true), ("ssfssf", true), ("ss", true), ("sss", false), ("fsf", false)]
    {
        assert_eq!(HfFolder::open(place(kinds).path(), &mapping).is_ok(), holds, "{kinds}");
    }
}
