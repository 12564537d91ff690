//! Marks in kernel text: the op behind a line.
//!
//! A line that computes an op which was fused into a kernel ends in a comment such as `// [3] rope`:
//! the op's place among [`Dispatch::ops`](super::Dispatch::ops) and its kind. A place rather than a
//! value's number, so that layers that are alike share their kernels. Lines without a mark belong to
//! what the kernel is built around.

/// The mark of op `index` of a dispatch, to be put at the end of a line.
pub fn mark(index: usize, op: &str) -> String {
    format!(" // [{index}] {op}")
}

/// The index of the op that `line` of a kernel's text is marked with.
pub fn marked_op(line: &str) -> Option<usize> {
    let (_, comment) = line.rsplit_once(" // [")?;
    comment.split_once(']')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_marked_is_found() {
        assert_eq!(marked_op(&format!("    let e1 = e0 * s_0;{}", mark(12, "rms_norm"))), Some(12));
        for line in ["", "    let e1 = e0;", "// [not a number] x", "    e1; // [] x"] {
            assert_eq!(marked_op(line), None, "{line}");
        }
    }
}
