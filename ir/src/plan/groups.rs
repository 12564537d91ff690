//! The rows of chosen experts, expert by expert: what one kernel lists and products of prompts read.

use serde::{Deserialize, Serialize};

/// How the list lies in memory, in words of 32 bits.
///
/// A row is a pair of token and place among its ids, `token · top + place`. First come the rows, those
/// of an expert together and in any order among themselves; then for each size of
/// [`TILES`](Groups::TILES) a table of tiles of at most so many rows of one expert. A tile is three
/// words: the expert, where its rows begin in the list, and how many they are. A step may have fewer
/// tiles than [`tiles`](Groups::tiles) says; those that are left have no rows, and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Groups {
    /// Rows at most.
    pub rows: u32,
    /// Experts to choose from.
    pub experts: u32,
}

/// What a row is said to be of that no tile has, and what one that several have.
const NONE: u32 = u32::MAX;
const SEVERAL: u32 = u32::MAX - 1;

impl Groups {
    /// Rows of a tile, for each table.
    pub const TILES: [u32; 5] = [8, 16, 32, 64, 128];

    /// Tiles at most of so many rows, however they are shared out among the experts.
    ///
    /// # Panics
    /// If `tile` is 0.
    pub fn tiles(rows: u32, tile: u32, experts: u32) -> u32 {
        rows.div_ceil(tile).saturating_add(experts).min(rows)
    }

    /// The first word of the table of tiles of `tile` rows; the end, if there is none.
    pub fn table(&self, tile: u32) -> u32 {
        let before = Groups::TILES.iter().take_while(|size| **size != tile);
        let words = before.map(|size| Groups::tiles(self.rows, *size, self.experts) * 3);
        words.fold(self.rows, u32::saturating_add)
    }

    /// Words altogether.
    pub fn words(&self) -> u32 {
        self.table(0)
    }

    /// The words for these ids, one a row.
    pub fn of(&self, ids: &[u32]) -> Vec<u32> {
        let mut list: Vec<u32> = (0..ids.len() as u32).collect();
        let expert = |row: &u32| ids.get(*row as usize).copied().unwrap_or(NONE);
        list.sort_by_key(expert);
        let mut words = list.clone();
        for tile in Groups::TILES {
            words.resize(self.table(tile) as usize, 0);
            let mut first = 0;
            for of_expert in list.chunk_by(|a, b| expert(a) == expert(b)) {
                for rows in of_expert.chunks(tile as usize) {
                    words.extend([expert(&rows[0]), first, rows.len() as u32]);
                    first += rows.len() as u32;
                }
            }
        }
        words.resize(self.words() as usize, 0);
        words
    }

    /// The ids of a step's rows, as each table has them; what is no id where a row is in no tile, in
    /// several, or not of the same expert in all tables.
    pub fn ids(&self, words: &[u32], rows: u32) -> Vec<u32> {
        let tables = Groups::TILES.map(|tile| self.ids_by(tile, words, rows));
        let same = |(row, id): (usize, &u32)| {
            let all = tables.iter().all(|table| table.get(row) == Some(id));
            if all { *id } else { NONE }
        };
        tables[0].iter().enumerate().map(same).collect()
    }

    fn ids_by(&self, tile: u32, words: &[u32], rows: u32) -> Vec<u32> {
        let mut ids = vec![NONE; rows as usize];
        let table = words.get(self.table(tile) as usize..).unwrap_or(&[]);
        let tiles = Groups::tiles(rows, tile, self.experts);
        for entry in table.chunks_exact(3).take(tiles as usize) {
            let (expert, first, count) = (entry[0], entry[1], entry[2]);
            if count == 0 {
                continue;
            }
            if count > tile || first > rows - count.min(rows) {
                return vec![NONE; rows as usize];
            }
            for row in words.iter().skip(first as usize).take(count as usize) {
                if let Some(id) = ids.get_mut(*row as usize) {
                    *id = if *id == NONE { expert } else { SEVERAL };
                }
            }
        }
        ids
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn ids_are_those_that_were_listed(
            experts in 1u32..=40,
            most in 0u32..=40,
            rows in 0usize..=300,
            more in 0u32..=100,
        ) {
            // Fewer experts than there are may be chosen.
            let ids: Vec<u32> = (0..rows as u32).map(|row| row * row % experts.min(most + 1)).collect();
            let groups = Groups { rows: rows as u32 + more, experts };
            let words = groups.of(&ids);
            prop_assert_eq!(words.len(), groups.words() as usize);
            prop_assert_eq!(groups.ids(&words, rows as u32), ids);
        }
    }

    #[test]
    fn rows_that_are_left_out_or_listed_twice_show() {
        let (groups, ids) = (Groups { rows: 12, experts: 3 }, [2, 2, 0, 1, 2, 0]);
        let words = groups.of(&ids);
        assert_eq!(&words[..6], [2, 5, 3, 0, 1, 4]);
        for broken in [(0, 5), (groups.table(8) as usize + 2, 1), (groups.table(64) as usize, 2)] {
            let mut words = words.clone();
            words[broken.0] = broken.1;
            assert_ne!(groups.ids(&words, 6), ids, "{broken:?}");
        }
        assert_eq!(groups.ids(&vec![0x7fc0_dead; words.len()], 6), [NONE; 6]);
    }

    #[test]
    fn no_share_of_rows_has_more_tiles() {
        for (rows, tile, experts, tiles) in
            [(4096, 64, 32, 96), (56, 16, 32, 36), (8, 16, 32, 8), (1, 8, 1, 1), (0, 8, 4, 0)]
        {
            assert_eq!(Groups::tiles(rows, tile, experts), tiles);
        }
    }
}
