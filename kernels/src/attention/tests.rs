//! Templates that are filled, and texts that naga takes.

use super::{AttentionKernel, CacheRows, Combine, Flash, Own, Quads, Shape, Split, Tiles};
use crate::check;
use crate::shader::Shader;
use quarrel_ir::graph::{Attention, StateFormat};

fn taken(shader: &Shader) {
    let at = |error: check::CheckError| panic!("{error}\n{}", shader.wgsl);
    check::validate(&shader.wgsl).unwrap_or_else(at);
    check::metal(&shader.wgsl).unwrap_or_else(|error| panic!("{error}\n{}", shader.wgsl));
    check::spirv(&shader.wgsl).unwrap_or_else(|error| panic!("{error}\n{}", shader.wgsl));
}

fn kernel(size: u32, format: StateFormat, shape: Shape) -> AttentionKernel {
    AttentionKernel {
        attention: Attention {
            scale: 0.125,
            window: Some(100),
            softcap: Some(30.0),
            alibi: Some(8.0),
        },
        heads: 12,
        kv_heads: 4,
        key_size: size,
        value_size: size,
        rows: CacheRows { rows: 2048, ring: false },
        slots: 2,
        key_format: format,
        value_format: format,
        halves: false,
        count: "1u".into(),
        extra: vec![],
        shape,
    }
}

#[test]
fn quads_of_every_size() {
    for format in StateFormat::ALL {
        for size in [8, 24, 32, 64, 80, 96, 256].into_iter().filter(|n| format.takes(&[*n])) {
            let size = size as u32;
            for (heads, splits) in [(1, 1), (3, 8)] {
                if heads * size <= 1024 {
                    let quads = Quads { heads, threads: 256, positions: 2, splits };
                    taken(&kernel(size, format, Shape::Quads(quads)).shader());
                }
            }
        }
    }
}

#[test]
fn tiles_of_every_size() {
    for format in StateFormat::ALL {
        for size in [6, 64, 81, 96].into_iter().filter(|n| format.takes(&[*n])) {
            let size = size as u32;
            let tiles = Tiles { tokens: 2, heads: 3, threads: 64, positions: 2 };
            taken(&kernel(size, format, Shape::Tiles(tiles)).shader());
        }
    }
}

#[test]
fn a_token_a_thread_of_every_size() {
    for format in StateFormat::ALL {
        for size in [6, 64, 81, 96].into_iter().filter(|n| format.takes(&[*n])) {
            let own = Own { heads: 3, threads: 8 };
            taken(&kernel(size as u32, format, Shape::Own(own)).shader());
        }
    }
}

#[test]
fn splits_are_combined() {
    for (value_size, splits) in [(8, 2), (64, 5), (64, 64), (80, 29), (256, 7)] {
        let split = Split { heads: 3, value_size, splits };
        taken(&Combine { split, max_threads: 256 }.shader());
    }
}

/// Matrices of 16 by 16 and of 8 by 8, lanes that share rows and lanes that have several, subgroups that
/// have whole heads and parts of them, in vectors and not.
#[test]
fn flash_of_every_size() {
    let tile = |size, lanes, subgroups, held, keys| Flash {
        size,
        lanes,
        subgroups,
        parts: 1,
        held,
        keys,
        vectors: size == 16,
    };
    let tiles = [
        tile(16, 32, (4, 1), 1, 64),
        tile(16, 32, (1, 4), 1, 16),
        tile(16, 64, (2, 1), 2, 32),
        tile(8, 32, (2, 2), 2, 32),
        tile(8, 8, (1, 4), 2, 16),
    ];
    for format in [StateFormat::F16, StateFormat::F32] {
        for (size, parts) in [(16, 1), (64, 1), (96, 1), (128, 1), (192, 2), (256, 2), (512, 4)] {
            let tiles = tiles.map(|tile| Flash { parts, ..tile });
            let fitting = tiles.into_iter().filter(|flash| flash.takes(size, size));
            let count = fitting
                .inspect(|flash| taken(&kernel(size, format, Shape::Flash(*flash)).shader()))
                .count();
            assert!(count > 0, "{size}");
        }
    }
}
