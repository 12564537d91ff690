//! How a presented tensor is made from the folder's: a tree of the transforms that mapping files
//! may name, bound to tensors. Types and shapes are checked when it is bound; bytes are computed
//! when the tensor is loaded, and are the mapped file's own where nothing is computed.

use super::shards::Shards;
use quarrel_ir::format::Format;
use std::borrow::Cow;

/// A tensor to be.
#[derive(Clone, Debug)]
pub(super) enum Recipe {
    /// A tensor of the folder.
    Stored(usize),
    Permute {
        of: Box<Made>,
        heads: u64,
    },
    Transpose(Box<Made>),
    Slice {
        of: Box<Made>,
        axis: usize,
        from: u64,
    },
    /// Also a stack: the bytes are the same.
    Concat(Vec<Made>),
    Add {
        of: Box<Made>,
        number: f32,
    },
    NegExp(Box<Made>),
    Numbers(Vec<f32>),
}

/// A tensor to be, with its type and shape.
///
/// Invariant, which the constructors establish: what the recipe yields has exactly the bytes of
/// format and shape, every extent is at least 1, and the format is F32, F16 or BF16.
#[derive(Clone, Debug)]
pub(super) struct Made {
    recipe: Recipe,
    pub(super) format: Format,
    pub(super) shape: Vec<u64>,
}

/// The size of a vector or of anything that fits in memory: extents come from files that are mapped.
fn size(extents: &[u64]) -> usize {
    extents.iter().product::<u64>() as usize
}

impl Made {
    /// A tensor of the folder, as it is.
    pub(super) fn stored(index: usize, shards: &Shards) -> Result<Made, String> {
        let (format, shape) = shards.stored(index).described()?;
        Ok(Made { recipe: Recipe::Stored(index), format, shape })
    }

    /// Numbers from the configuration.
    pub(super) fn numbers(numbers: Vec<f32>) -> Result<Made, String> {
        match numbers.len() as u64 {
            0 => Err("the list is empty".into()),
            count => {
                let recipe = Recipe::Numbers(numbers);
                Ok(Made { recipe, format: Format::F32, shape: vec![count] })
            }
        }
    }

    /// Each head's rows from halves to pairs: row `j` of a half of `n` goes to `2 j`, row `n + j`
    /// to `2 j + 1`.
    pub(super) fn permute(self, heads: u64) -> Result<Made, String> {
        let rows = self.shape.first().copied().unwrap_or(1);
        if heads == 0 || !rows.is_multiple_of(heads) || !(rows / heads).is_multiple_of(2) {
            return Err(format!("its {rows} rows are not {heads} heads of an even number of rows"));
        }
        let (format, shape) = (self.format, self.shape.clone());
        Ok(Made { recipe: Recipe::Permute { of: Box::new(self), heads }, format, shape })
    }

    /// Rows become columns; a vector stays.
    pub(super) fn transpose(self) -> Result<Made, String> {
        let shape = match self.shape[..] {
            [_] => return Ok(self),
            [rows, columns] => vec![columns, rows],
            _ => {
                return Err(format!(
                    "its shape {:?} is no matrix, so it has no transpose",
                    self.shape
                ));
            }
        };
        Ok(Made { format: self.format, recipe: Recipe::Transpose(Box::new(self)), shape })
    }

    /// Extents `from..to` of an axis.
    pub(super) fn slice(self, axis: u64, from: u64, to: u64) -> Result<Made, String> {
        let axis = usize::try_from(axis).unwrap_or(usize::MAX);
        let mut shape = self.shape.clone();
        let fits = |extent: &u64| from < to && to <= *extent;
        match shape.get_mut(axis).filter(|extent| fits(extent)) {
            Some(extent) => *extent = to - from,
            None => {
                let shape = &self.shape;
                return Err(format!(
                    "{from} to {to} of axis {axis} do not lie in its shape {shape:?}"
                ));
            }
        }
        Ok(Made {
            format: self.format,
            recipe: Recipe::Slice { of: Box::new(self), axis, from },
            shape,
        })
    }

    /// One after the other along the outermost axis.
    pub(super) fn concat(parts: Vec<Made>) -> Result<Made, String> {
        let (format, mut shape) = alike(&parts, 1)?;
        match shape.first_mut() {
            Some(rows) => *rows = parts.iter().filter_map(|part| part.shape.first()).sum(),
            None => return Err("scalars cannot be joined".into()),
        }
        Ok(Made { recipe: Recipe::Concat(parts), format, shape })
    }

    /// One after the other along a new outermost axis.
    pub(super) fn stack(parts: Vec<Made>) -> Result<Made, String> {
        let (format, mut shape) = alike(&parts, 0)?;
        shape.insert(0, parts.len() as u64);
        Ok(Made { recipe: Recipe::Concat(parts), format, shape })
    }

    /// A number added to each element.
    pub(super) fn add(self, number: f32) -> Made {
        let shape = self.shape.clone();
        Made { recipe: Recipe::Add { of: Box::new(self), number }, format: Format::F32, shape }
    }

    /// `-exp(x)` of each element.
    pub(super) fn neg_exp(self) -> Made {
        let shape = self.shape.clone();
        Made { recipe: Recipe::NegExp(Box::new(self)), format: Format::F32, shape }
    }

    /// The tensor's bytes.
    pub(super) fn bytes<'a>(&self, shards: &'a Shards) -> Cow<'a, [u8]> {
        match &self.recipe {
            Recipe::Stored(index) => Cow::Borrowed(shards.bytes(*index)),
            Recipe::Permute { of, heads } => Cow::Owned(of.permuted(*heads as usize, shards)),
            Recipe::Transpose(of) => Cow::Owned(of.transposed(shards)),
            Recipe::Slice { of, axis, from } => {
                Cow::Owned(of.sliced(*axis, *from, self.shape[*axis], shards))
            }
            Recipe::Concat(parts) => {
                Cow::Owned(parts.iter().fold(Vec::with_capacity(self.size()), |mut all, part| {
                    all.extend_from_slice(&part.bytes(shards));
                    all
                }))
            }
            Recipe::Add { of, number } => Cow::Owned(of.mapped(shards, |x| x + number)),
            Recipe::NegExp(of) => Cow::Owned(of.mapped(shards, |x| -x.exp())),
            Recipe::Numbers(numbers) => {
                Cow::Owned(numbers.iter().flat_map(|number| number.to_le_bytes()).collect())
            }
        }
    }

    /// The folder's tensors that it is made from.
    pub(super) fn sources(&self) -> Vec<usize> {
        match &self.recipe {
            Recipe::Stored(index) => vec![*index],
            Recipe::Permute { of, .. }
            | Recipe::Transpose(of)
            | Recipe::Slice { of, .. }
            | Recipe::Add { of, .. }
            | Recipe::NegExp(of) => of.sources(),
            Recipe::Concat(parts) => parts.iter().flat_map(Made::sources).collect(),
            Recipe::Numbers(_) => vec![],
        }
    }

    fn size(&self) -> usize {
        size(&self.shape) * self.format.block_bytes()
    }

    fn permuted(&self, heads: usize, shards: &Shards) -> Vec<u8> {
        let bytes = self.bytes(shards);
        // `permute` checked that heads divide the rows, and 2 a head's.
        let head = bytes.len() / heads;
        let row = self.size() / self.shape.first().map_or(1, |&rows| rows as usize);
        let mut out = Vec::with_capacity(bytes.len());
        for head in bytes.chunks_exact(head) {
            let (first, second) = head.split_at(head.len() / 2);
            for (a, b) in first.chunks_exact(row).zip(second.chunks_exact(row)) {
                out.extend_from_slice(a);
                out.extend_from_slice(b);
            }
        }
        out
    }

    fn transposed(&self, shards: &Shards) -> Vec<u8> {
        let bytes = self.bytes(shards);
        let element = self.format.block_bytes();
        // `transpose` made one of a matrix only.
        let columns = self.shape.last().map_or(1, |&columns| columns as usize);
        let row = columns * element;
        let mut out = Vec::with_capacity(bytes.len());
        for column in 0..columns {
            for row in bytes.chunks_exact(row) {
                out.extend_from_slice(&row[column * element..][..element]);
            }
        }
        out
    }

    fn sliced(&self, axis: usize, from: u64, count: u64, shards: &Shards) -> Vec<u8> {
        let bytes = self.bytes(shards);
        // `slice` checked that the axis exists and holds the range.
        let inner = size(&self.shape[axis + 1..]) * self.format.block_bytes();
        let whole = self.shape[axis] as usize * inner;
        let range = from as usize * inner..(from + count) as usize * inner;
        bytes.chunks_exact(whole).flat_map(|chunk| &chunk[range.clone()]).copied().collect()
    }

    fn mapped(&self, shards: &Shards, f: impl Fn(f32) -> f32) -> Vec<u8> {
        let mut values = vec![0.0; size(&self.shape)];
        self.format.dequantize(&self.bytes(shards), &mut values);
        values.into_iter().flat_map(|value| f(value).to_le_bytes()).collect()
    }
}

/// The format of all parts, and the shape of the first; their extents from axis `skip` on agree.
fn alike(parts: &[Made], skip: usize) -> Result<(Format, Vec<u64>), String> {
    let Some(first) = parts.first() else { return Err("there are no tensors to join".into()) };
    for other in parts {
        if other.format != first.format {
            let (a, b) = (first.format, other.format);
            return Err(format!("tensors of formats {a} and {b} cannot be joined"));
        }
        let same_rank = other.shape.len() == first.shape.len();
        if !same_rank || other.shape.iter().skip(skip).ne(first.shape.iter().skip(skip)) {
            let (a, b) = (&first.shape, &other.shape);
            return Err(format!("tensors of shapes {a:?} and {b:?} cannot be joined"));
        }
    }
    Ok((first.format, first.shape.clone()))
}
