//! Dequantisation, bit for bit, against values that the `gguf` Python package computed:
//! `fixtures/make_format_fixtures.py` wrote the fixtures and says how.
#![expect(clippy::panic, reason = "helpers of tests fail by panicking")]

use proptest::prelude::*;
use quarrel_ir::format::Format;
use quarrel_ir::packing::{Interleaving, Plane};
use std::path::Path;

/// The fixture's blocks and the values that they stand for.
fn fixture(format: Format) -> (Vec<u8>, Vec<f32>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let path = folder.join(format!("{}.bin", format.name()));
    let bytes = std::fs::read(&path).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
    let one = format.block_bytes() + 4 * format.block_len();
    assert_eq!(bytes.len() % one, 0, "{format}: the fixture is not whole blocks");
    let (blocks, values) = bytes.split_at(bytes.len() / one * format.block_bytes());
    let values = values.as_chunks().0.iter().map(|value| f32::from_le_bytes(*value));
    (blocks.to_vec(), values.collect())
}

#[test]
fn dequantisation_is_exact() {
    for format in Format::ALL {
        let (blocks, expect) = fixture(format);
        let mut values = vec![0.0; expect.len()];
        format.dequantize(&blocks, &mut values);
        for (index, (value, expect)) in values.iter().zip(&expect).enumerate() {
            assert_eq!(value.to_bits(), expect.to_bits(), "{format} [{index}]: {value} {expect}");
        }
    }
}

#[test]
fn names_and_row_sizes_agree_with_the_block_geometry() {
    for format in Format::ALL {
        assert_eq!(Format::from_name(&format.name().to_lowercase()), Some(format));
        let (block, bytes) = (format.block_len() as u64, format.block_bytes() as u64);
        assert_eq!(format.row_bytes(block * 7), Some(bytes * 7));
        assert_eq!(format.row_bytes(block + 1).is_some(), block == 1);
        assert_eq!(format.row_bytes(0), Some(0));
        assert_eq!(format.is_float(), block == 1);
    }
    assert_eq!(Format::F32.row_bytes(u64::MAX), None);
    assert_eq!(Format::from_name("Q9_9"), None);
}

/// Layouts of their own take little more than the file; the shared one of rare formats 10 bits an
/// element.
#[test]
fn device_layouts_are_small() {
    let elements = 256 * 64;
    for format in Format::ALL {
        let bytes = format.packing().bytes(elements) as f64;
        let file = format.row_bytes(elements).unwrap_or_default() as f64;
        let shared = (bytes * 8.0 / elements as f64 - 10.0).abs() < 1e-9;
        assert!(bytes <= 1.17 * file || shared, "{format}: {bytes} of {file}");
        let block: usize = (0..format.packing().planes.len())
            .map(|p| format.packing().block_bytes(format, p))
            .sum();
        let blocks = elements as f64 / format.block_len() as f64;
        assert!(format.is_float() || bytes == block as f64 * blocks, "{format}");
    }
}

proptest! {
    /// Each chunk's bytes are at its place, in every plane, and no two chunks have the same one.
    #[test]
    fn interleaved_rows_are_where_places_say(
        index in 0..Format::ALL.len(), rows in 1..9u64, turns in 1..4u64, runs in 1..3u64, seed: u8,
    ) {
        let format = Format::ALL[index];
        let packing = format.packing();
        let chunks = turns * packing.together();
        let columns = chunks * packing.chunk as u64;
        let interleaving = Interleaving::new(format, rows, columns);
        prop_assert_eq!(interleaving, Some(Interleaving { rows, together: packing.together(), chunks }));
        let Some(interleaving) = interleaving else { return Ok(()) };
        prop_assert_eq!(Interleaving::new(format, rows, columns + packing.chunk as u64), None);
        let all = rows * runs;
        let mut taken = vec![false; (all * chunks) as usize];
        for (plane, Plane { bytes, chunks: shared, .. }) in packing.planes.iter().enumerate() {
            let plain: Vec<u8> = (0..(all * chunks) as usize * bytes / shared)
                .map(|n| (n as u64 * n as u64 / 7 + n as u64 * 31) as u8 ^ seed)
                .collect();
            let mut mixed = vec![0; plain.len()];
            let run = interleaving.bytes(packing, plane);
            for (from, to) in plain.chunks_exact(run).zip(mixed.chunks_exact_mut(run)) {
                interleaving.interleave(packing, plane, from, to);
            }
            for (row, chunk) in (0..all).flat_map(|row| (0..chunks).map(move |chunk| (row, chunk))) {
                let place = interleaving.place(row, chunk) as usize;
                if plane == 0 {
                    prop_assert!(!std::mem::replace(&mut taken[place], true));
                }
                let bytes_of = |plane: &[u8], at: usize| plane[at / shared * bytes..][..*bytes].to_vec();
                let before = bytes_of(&plain, (row * chunks + chunk) as usize);
                prop_assert_eq!(before, bytes_of(&mixed, place), "{} plane {}", format, plane);
            }
        }
    }

    /// Each block stands alone: a row's values are its blocks' values.
    #[test]
    fn blocks_are_independent(index in 0..Format::ALL.len(), blocks in 1..4usize, seed: u64) {
        let format = Format::ALL[index];
        let bytes: Vec<u8> = (0..(blocks * format.block_bytes()) as u64)
            .map(|n| (seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(n * n * 977) >> 32) as u8)
            .collect();
        let mut whole = vec![0.0; blocks * format.block_len()];
        format.dequantize(&bytes, &mut whole);
        for block in 0..blocks {
            let mut one = vec![0.0; format.block_len()];
            format.dequantize(&bytes[block * format.block_bytes()..][..format.block_bytes()], &mut one);
            let whole = &whole[block * format.block_len()..][..format.block_len()];
            let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            prop_assert_eq!(bits(&one), bits(whole));
        }
    }
}
