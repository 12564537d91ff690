//! What is written is read back; whatever is wrong with a file is named, and nothing panics.

use super::write::GgufWriter;
use super::{Array, Fault, GgufError, GgufFile, Strings, Value, types};
use proptest::prelude::*;
use quarrel_ir::format::Format;
use quarrel_ir::weight::{WeightError, WeightSource};

/// The fault of a file that must be refused.
fn fault(bytes: Vec<u8>) -> Fault {
    GgufFile::from_bytes(bytes).expect_err("must be refused").fault().cloned().expect("a fault")
}

/// The fault of a file that must be refused, in words.
fn message(writer: GgufWriter) -> String {
    fault(writer.finish()).to_string()
}

fn check_message(writer: GgufWriter, expect: &[&str]) {
    let message = message(writer);
    for part in expect {
        assert!(message.contains(part), "no {part:?} in: {message}");
    }
}

/// A file with one entry, whose value is `value` as raw bytes: type, then contents.
fn with_raw_value(value: &[u8]) -> Vec<u8> {
    let mut file = GgufWriter::new().metadata("k", 0u8).finish();
    file.truncate(file.len() - 5);
    file.extend(value);
    file
}

fn words(numbers: &[u32]) -> Vec<u8> {
    numbers.iter().flat_map(|n| n.to_le_bytes()).collect()
}

/// A small file with every value type and every format.
fn sample() -> GgufWriter {
    let mut writer = GgufWriter::new()
        .metadata("general.architecture", "llama")
        .metadata("a.bool", true)
        .metadata("a.f64", 0.5f64)
        .metadata("a.i8", -1i8)
        .metadata("list.strings", vec!["", "a", "éü"])
        .metadata("list.u16", vec![1u16, 2, 3])
        .metadata("list.nested", vec![Array::Bool(vec![true, false]), Array::I64(vec![-7])]);
    for (index, format) in Format::ALL.into_iter().enumerate() {
        let columns = format.block_len() as u64 * 3;
        let bytes = vec![index as u8 + 1; format.row_bytes(columns).unwrap() as usize * 2];
        writer = writer.tensor(format.name(), format, &[2, columns], &bytes);
    }
    writer
}

#[test]
fn every_value_type_round_trips() {
    let values: Vec<Value> = vec![
        Value::U8(200),
        Value::I8(-100),
        Value::U16(60_000),
        Value::I16(-30_000),
        Value::U32(4_000_000_000),
        Value::I32(-2_000_000_000),
        Value::U64(u64::MAX),
        Value::I64(i64::MIN),
        Value::F32(1.5),
        Value::F64(-2.25),
        Value::Bool(true),
        "text with ünïcode".into(),
        vec![1u8, 2].into(),
        vec![-1i8].into(),
        vec![3u16].into(),
        vec![-3i16].into(),
        vec![5u32, 6].into(),
        vec![-5i32].into(),
        vec![7u64].into(),
        vec![-7i64].into(),
        vec![0.5f32].into(),
        vec![0.25f64].into(),
        vec![true, false].into(),
        vec!["a", "", "ß"].into(),
        Vec::<String>::new().into(),
        vec![Array::U8(vec![1]), Array::String(Strings::from_iter(["x"]))].into(),
    ];
    for version in [2, 3] {
        let mut writer = GgufWriter::new().version(version);
        for (index, value) in values.iter().enumerate() {
            writer = writer.metadata(&format!("key.{index}"), value.clone());
        }
        let file = GgufFile::from_bytes(writer.finish()).unwrap();
        assert_eq!(file.version(), version);
        let read: Vec<Value> = file.metadata().iter().map(|(_, value)| value.clone()).collect();
        assert_eq!(read, values);
        assert_eq!(file.metadata().get("key.3"), Some(&Value::I16(-30_000)));
        assert_eq!(file.metadata().get("key.99"), None);
    }
}

#[test]
fn typed_getters_convert_only_what_fits() {
    let file = GgufFile::from_bytes(sample().finish()).unwrap();
    let metadata = file.metadata();
    assert_eq!(file.architecture(), Some("llama"));
    assert_eq!((metadata.i64("a.i8"), metadata.u64("a.i8")), (Some(-1), None));
    assert_eq!((metadata.f64("a.i8"), metadata.f64("a.f64")), (Some(-1.0), Some(0.5)));
    assert_eq!((metadata.bool("a.bool"), metadata.u64("a.bool")), (Some(true), None));
    let strings = metadata.strings("list.strings").unwrap();
    assert_eq!(strings.iter().collect::<Vec<_>>(), ["", "a", "éü"]);
    assert_eq!((strings.get(2), strings.get(3)), (Some("éü"), None));
    assert_eq!(metadata.array("list.u16").unwrap().to_i64s(), Some(vec![1, 2, 3]));
    assert_eq!(metadata.array("list.strings").unwrap().to_f64s(), None);
}

#[test]
fn every_format_round_trips() {
    for alignment in [None, Some(1), Some(8), Some(4096)] {
        let mut writer = GgufWriter::new();
        if let Some(alignment) = alignment {
            writer = writer.alignment(alignment);
        }
        for (index, format) in Format::ALL.into_iter().enumerate() {
            let columns = format.block_len() as u64 * 5;
            let bytes = vec![index as u8 + 1; format.row_bytes(columns).unwrap() as usize * 6];
            writer = writer.tensor(format.name(), format, &[2, 3, columns], &bytes);
        }
        let file = GgufFile::from_bytes(writer.finish()).unwrap();
        assert_eq!(file.tensors().len(), Format::ALL.len());
        for (index, info) in file.tensors().enumerate() {
            assert_eq!(info.format, Format::ALL[index]);
            assert_eq!(info.shape, [2, 3, info.format.block_len() as u64 * 5]);
            assert_eq!(file.info(&info.name), Some(info));
            let bytes = file.bytes(&info.name).unwrap();
            let blocks = info.elements() as usize / info.format.block_len();
            assert_eq!(bytes.len(), blocks * info.format.block_bytes());
            assert!(bytes.iter().all(|byte| *byte == index as u8 + 1));
        }
        assert!(matches!(file.bytes("absent"), Err(WeightError::Missing(_))));
    }
}

#[test]
fn a_mapped_file_keeps_its_bytes_after_release() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    let bytes: Vec<u8> = (0..400_000u32).map(|n| (n % 251) as u8).collect();
    let writer = GgufWriter::new().tensor("first", Format::F32, &[100, 1000], &bytes).tensor(
        "second",
        Format::F16,
        &[],
        &[1, 2],
    );
    std::fs::write(&path, writer.finish()).unwrap();
    let file = GgufFile::open(&path).unwrap();
    file.release("first");
    file.release("second");
    file.release("absent");
    assert_eq!(&*file.bytes("first").unwrap(), bytes);
    assert_eq!(&*file.bytes("second").unwrap(), [1, 2]);
    assert_eq!(file.info("second").unwrap().elements(), 1);
}

#[test]
fn what_is_no_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let open = |name: &str| GgufFile::open(&folder.path().join(name)).unwrap_err();
    assert!(matches!(open("absent.gguf"), GgufError::Io { .. }));
    assert_eq!(open("").fault(), Some(&Fault::NotAFile));
    std::fs::write(folder.path().join("empty"), "").unwrap();
    assert_eq!(open("empty").fault(), Some(&Fault::Empty));
    assert!(open("empty").to_string().contains("empty: the file is empty"));
}

#[test]
fn other_kinds_of_file_are_named() {
    let cases: [(&[u8], &str); 7] = [
        (b"version https://git-lfs.github.com/spec/v1", "Git LFS pointer"),
        (b"<!DOCTYPE html>", "web page"),
        (b"PK\x03\x04", "zip archive"),
        (b"tjgg\x01\0\0\0", "before GGUF"),
        (b"\x10\0\0\0\0\0\0\0{\"a\":", "safetensors"),
        (b"GG", "begins with \"GG\""),
        (b"\xff\0ab", r"\\xff\\x00ab"),
    ];
    for (bytes, expect) in cases {
        let fault = fault(bytes.to_vec());
        assert!(matches!(fault, Fault::NotGguf { .. }));
        assert!(fault.to_string().contains(expect), "{fault}");
    }
}

#[test]
fn other_versions_are_refused() {
    assert_eq!(fault(GgufWriter::new().version(1).finish()), Fault::Version { version: 1 });
    assert_eq!(fault(GgufWriter::new().version(4).finish()), Fault::Version { version: 4 });
    assert_eq!(fault(GgufWriter::new().version(0).finish()), Fault::Version { version: 0 });
    assert_eq!(fault(GgufWriter::new().version(3 << 24).finish()), Fault::BigEndian);
}

#[test]
fn every_truncation_is_refused() {
    let bytes = sample().finish();
    for length in 0..bytes.len() {
        let fault = fault(bytes[..length].to_vec());
        if length >= 4 {
            assert!(fault.to_string().ends_with("fetch it again"), "{length}: {fault}");
        }
    }
}

#[test]
fn a_cut_tensor_is_named() {
    let mut bytes = GgufWriter::new().tensor("w", Format::F32, &[4], &[0; 16]).finish();
    let size = bytes.len() as u64;
    bytes.pop();
    let field = "the data of tensor \"w\"".into();
    assert_eq!(fault(bytes), Fault::Truncated { field, end: size, size: size - 1 });
}

#[test]
fn a_tensor_past_the_end_is_refused() {
    for offset in [32, 1 << 40, u64::MAX - 31] {
        let writer = GgufWriter::new().tensor_at("w", 0, &[4], offset, &[0; 16]);
        check_message(writer, &["ends within the data of tensor \"w\""]);
    }
}

#[test]
fn impossible_shapes_are_refused() {
    let tensor = |kind, shape: &[u64]| GgufWriter::new().tensor_of_kind("w", kind, shape, &[0; 64]);
    check_message(tensor(0, &[1 << 33, 1 << 33]), &["tensor \"w\"", "impossible shape"]);
    check_message(tensor(0, &[1 << 62]), &["impossible shape"]);
    check_message(tensor(8, &[1 << 30, 1 << 34]), &["impossible shape"]);
    check_message(tensor(0, &[4, 0]), &["no elements"]);
    check_message(tensor(0, &[1; 5]), &["5 dimensions"]);
    check_message(tensor(2, &[32, 33]), &["rows of 33 elements", "Q4_0's block of 32"]);
    check_message(tensor(8, &[]), &["rows of 1 elements"]);
    check_message(tensor(12, &[2, 576]), &["rows of 576 elements", "Q4_K's block of 256"]);
}

#[test]
fn unsupported_types_are_refused_by_name() {
    let tensor = |kind| GgufWriter::new().tensor_of_kind("w", kind, &[256], &[0; 512]);
    check_message(tensor(9), &["\"w\"", "Q8_1 (9)", "supported: F32, F16,"]);
    check_message(tensor(31), &["\"w\"", "Q4_0_4_4 (31)"]);
    check_message(tensor(26), &["I32 (26)"]);
    check_message(tensor(1000), &["number 1000 (unknown)"]);
    assert!(types::supported().contains("Q8_0"));
}

#[test]
fn misplaced_tensors_are_refused() {
    let two = |offset| {
        let writer = GgufWriter::new().tensor("a", Format::F32, &[16], &[0; 64]);
        writer.tensor_at("b", 0, &[16], offset, &[0; 64])
    };
    assert!(GgufFile::from_bytes(two(64).finish()).is_ok());
    check_message(two(32), &["\"b\" overlaps the tensor \"a\""]);
    check_message(two(65), &["offset 65", "alignment 32"]);
}

#[test]
fn bad_alignments_are_refused() {
    let with = |value: Value| GgufWriter::new().metadata("general.alignment", value);
    check_message(with(24u32.into()), &["general.alignment", "24, which is no power of two"]);
    check_message(with(0u32.into()), &["is 0, which"]);
    check_message(with("32".into()), &["is no whole number"]);
    let vast = with((1u64 << 63).into()).tensor("w", Format::F32, &[1], &[0; 4]);
    check_message(vast, &["ends within the data"]);
}

#[test]
fn duplicates_are_refused() {
    check_message(
        GgufWriter::new().metadata("k", 1u8).metadata("k", 2u8),
        &["\"k\" appears twice"],
    );
    let tensor = |writer: GgufWriter| writer.tensor("w", Format::F32, &[8], &[0; 32]);
    check_message(tensor(tensor(GgufWriter::new())), &["\"w\" appears twice"]);
}

#[test]
fn absurd_metadata_is_refused() {
    let absurd = |element: u32| {
        let mut value = words(&[9, element]);
        value.extend((1u64 << 60).to_le_bytes());
        fault(with_raw_value(&value))
    };
    for element in [0, 4, 6, 8, 9, 12] {
        assert!(matches!(absurd(element), Fault::Count { .. }), "{element}");
    }
    assert!(matches!(absurd(7), Fault::Truncated { .. }));
    assert!(absurd(13).to_string().contains("unknown type 13"));
    assert!(fault(with_raw_value(&words(&[13, 0]))).to_string().contains("unknown type 13"));
    let boolean = fault(with_raw_value(&[7, 0, 0, 0, 2]));
    assert!(boolean.to_string().contains("a boolean that is 2"));
    let text = fault(with_raw_value(&[8, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0xff]));
    assert!(text.to_string().contains("not UTF-8"));
    let long = fault(with_raw_value(&[&words(&[8])[..], &[0xff; 8]].concat()));
    assert!(matches!(long, Fault::Truncated { end: u64::MAX, .. }));
}

#[test]
fn absurd_counts_are_refused() {
    for at in [8, 16] {
        let mut bytes = sample().finish();
        bytes[at..at + 8].copy_from_slice(&(1u64 << 60).to_le_bytes());
        assert!(matches!(fault(bytes), Fault::Count { count, .. } if count == 1 << 60));
    }
}

#[test]
fn deeply_nested_arrays_are_refused() {
    let mut value = words(&[9]);
    for _ in 0..100_000 {
        value.extend(words(&[9, 1, 0]));
    }
    assert!(fault(with_raw_value(&value)).to_string().contains("nests arrays more than 4 deep"));
}

#[test]
fn long_names_are_shortened_in_messages() {
    let name = "ä".repeat(1 << 20);
    let long = GgufWriter::new().metadata(&name, 1u8).metadata(&name, 1u8);
    assert!(message(long).len() < 1000);
    assert!(message(GgufWriter::new().tensor(&name, Format::F32, &[0], &[])).len() < 1000);
}

#[test]
fn a_large_vocabulary_loads() {
    let tokens: Vec<String> = (0..256_000).map(|n| format!("token{n}")).collect();
    let bytes = GgufWriter::new().metadata("tokenizer.ggml.tokens", tokens).finish();
    let file = GgufFile::from_bytes(bytes).unwrap();
    let tokens = file.metadata().strings("tokenizer.ggml.tokens").unwrap();
    assert_eq!((tokens.len(), tokens.get(255_999)), (256_000, Some("token255999")));
}

/// Reads everything that a file offers; it may be refused, but nothing may panic.
fn exercise(bytes: Vec<u8>) {
    let size = bytes.len();
    let Ok(file) = GgufFile::from_bytes(bytes) else { return };
    for info in file.tensors() {
        let read = file.bytes(&info.name).unwrap();
        let values = info.elements() as usize;
        assert_eq!(read.len(), values / info.format.block_len() * info.format.block_bytes());
        assert!(read.len() <= size);
    }
    for (_, value) in file.metadata().iter() {
        let elements = value.as_array().map_or(0, |array| array.iter().count());
        assert!(elements <= size);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn damaged_files_never_panic(
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        length in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = sample().finish();
        for (at, byte) in flips {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(length) = length {
            bytes.truncate(length.index(bytes.len()));
        }
        exercise(bytes);
    }

    #[test]
    fn damaged_words_never_panic(at in any::<prop::sample::Index>(), word in any::<u64>(), shift in 0..64u32) {
        let mut bytes = sample().finish();
        let at = at.index(bytes.len() - 8);
        bytes[at..at + 8].copy_from_slice(&(word >> shift).to_le_bytes());
        exercise(bytes);
    }

    #[test]
    fn arbitrary_headers_never_panic(tail in prop::collection::vec(any::<u8>(), 0..200)) {
        exercise([&b"GGUF\x03\0\0\0"[..], &tail].concat());
    }
}

/// Part `no` of `count`, with these tensors of one element.
fn part(no: u16, count: u16, all: i32, tensors: &[&str]) -> Vec<u8> {
    let mut writer = GgufWriter::new();
    if no == 0 {
        writer = writer.metadata("general.architecture", "llama");
    }
    writer = writer.metadata("split.no", no).metadata("split.count", count);
    writer = writer.metadata("split.tensors.count", all);
    for name in tensors {
        writer = writer.tensor(name, Format::F32, &[1], &(no as f32).to_le_bytes());
    }
    writer.finish()
}

fn split_message(parts: &[Vec<u8>]) -> String {
    GgufFile::from_parts(parts.to_vec()).expect_err("must be refused").to_string()
}

#[test]
fn parts_are_one_model_from_any_of_their_paths() {
    let folder = tempfile::tempdir().unwrap();
    let parts = [part(0, 3, 3, &[]), part(1, 3, 3, &["a", "b"]), part(2, 3, 3, &["c"])];
    let path = |no: usize| folder.path().join(format!("m-{no:05}-of-00003.gguf"));
    for (no, bytes) in parts.iter().enumerate() {
        std::fs::write(path(no + 1), bytes).unwrap();
    }
    for no in 1..=3 {
        let file = GgufFile::open(&path(no)).unwrap();
        assert_eq!(file.architecture(), Some("llama"));
        assert_eq!(file.size(), parts.iter().map(|part| part.len() as u64).sum::<u64>());
        for (name, value) in [("a", 1f32), ("b", 1.0), ("c", 2.0)] {
            assert_eq!(&*file.bytes(name).unwrap(), value.to_le_bytes(), "{name}");
            file.release(name);
        }
    }
    std::fs::rename(path(1), folder.path().join("other.gguf")).unwrap();
    std::fs::remove_file(path(3)).unwrap();
    let error = GgufFile::open(&path(2)).unwrap_err().to_string();
    assert!(error.contains("m-00001-of-00003.gguf, m-00003-of-00003.gguf are not"), "{error}");
    let error = GgufFile::open(&folder.path().join("other.gguf")).unwrap_err().to_string();
    assert!(error.contains("\"-00001-of-00003.gguf\""), "{error}");
}

#[test]
fn parts_that_do_not_belong_together_are_refused() {
    let good = [part(0, 2, 2, &["a"]), part(1, 2, 2, &["b"])];
    assert!(GgufFile::from_parts(good.to_vec()).is_ok());
    let refused = |second: Vec<u8>, words: &str| {
        let message = split_message(&[good[0].clone(), second]);
        assert!(message.contains(words), "{message}");
    };
    refused(part(1, 2, 2, &["a"]), "part 2 of the given bytes: the tensor \"a\" is also in part 1");
    refused(part(0, 2, 2, &["b"]), "should be part 2 of 2");
    refused(part(1, 3, 2, &["b"]), "should be part 2 of 2");
    refused(part(1, 2, 2, &["b", "c"]), "the 2 parts hold 3 tensors");
    refused(part(2, 2, 2, &["b"]), "is 2, but there are 2 parts");
    refused(GgufWriter::new().finish(), "should be part 2 of 2");
    assert!(split_message(&good[..1]).contains("should be part 1 of 1"));
    assert!(split_message(&[]).contains("empty"));
    let odd = GgufWriter::new().metadata("split.count", "two").finish();
    assert!(split_message(&[odd]).contains("no number from 0 to 65535"));
    let whole = GgufWriter::new().metadata("split.count", 1u16).finish();
    assert!(GgufFile::from_bytes(whole).is_ok());
}

proptest! {
    #[test]
    fn damaged_parts_never_panic(at in any::<prop::sample::Index>(), byte: u8, which in 0..2usize) {
        let mut parts = [part(0, 2, 2, &["a"]), part(1, 2, 2, &["b"])];
        let at = at.index(parts[which].len());
        parts[which][at] = byte;
        if let Ok(file) = GgufFile::from_parts(parts.to_vec()) {
            for info in file.tensors() {
                assert!(!file.bytes(&info.name).unwrap().is_empty());
            }
        }
    }
}
