//! The family that lists the rows of chosen experts, expert by expert.
//!
//! It applies to ids that a step computes: one dispatch of one workgroup for each choice of experts.
//! Products take their rows from its list, so that a workgroup multiplies many rows with the weights of
//! one expert ([`crate::product::Experts`]).

use crate::shader::{Binding, Shader, declare};
use crate::template::fill;
use quarrel_ir::plan::{Access, Groups};

/// Everything that such a kernel is made of.
#[derive(Clone, Debug)]
pub struct GroupRows {
    /// Where the list lies.
    pub groups: Groups,
    /// Ids of each token.
    pub top: u32,
    /// WGSL expression for the number of tokens, which may use other bindings.
    pub count: String,
    /// All bindings; `ids` and `groups` among them.
    pub bindings: Vec<Binding>,
    /// Threads of the workgroup.
    pub threads: u32,
}

impl GroupRows {
    /// The ids, which it reads, and the list, which it writes.
    pub fn bindings() -> [Binding; 2] {
        let binding = |name: &str, access| Binding { name: name.into(), element: "u32", access };
        [binding("ids", Access::Read), binding("groups", Access::Write)]
    }

    /// Bytes of workgroup memory.
    pub const fn workgroup_bytes(experts: u32) -> u32 {
        8 * experts + 4 * Groups::TILES.len() as u32
    }

    /// The kernel's text.
    pub fn shader(&self) -> Shader {
        let Groups { rows, experts } = self.groups;
        let each = |line: &dyn Fn(usize, u32) -> String| -> String {
            Groups::TILES.iter().enumerate().map(|(index, tile)| line(index, *tile)).collect()
        };
        let tiles = each(&|index, tile| {
            format!(
                "        for (var place = 0u; place < count; place += {tile}u) {{\n            \
                 let at = {}u + 3u * tile_{index};\n            \
                 groups[at] = expert;\n            \
                 groups[at + 1u] = first + place;\n            \
                 groups[at + 2u] = min(count - place, {tile}u);\n            \
                 tile_{index}++;\n        }}\n        \
                 if (expert == EXPERTS - 1u) {{ used[{index}] = tile_{index}; }}\n",
                self.groups.table(tile)
            )
        });
        let rest = each(&|index, tile| {
            format!(
                "    for (var tile = used[{index}] + tid; tile < min((rows + {}u) / {tile}u + EXPERTS, rows); \
                 tile += THREADS) {{ groups[{}u + 3u * tile] = 0u; }}\n",
                tile - 1,
                self.groups.table(tile) + 2,
            )
        });
        let number = |n: u32| n.to_string();
        let wgsl = fill(
            include_str!("groups.wgsl"),
            &[
                ("bindings", &declare(&self.bindings)),
                ("experts", &number(experts)),
                ("threads", &number(self.threads)),
                ("tables", &number(Groups::TILES.len() as u32)),
                ("count", &self.count),
                ("top", &number(self.top)),
                ("declare", &each(&|i, _| format!("        var tile_{i} = 0u;\n"))),
                (
                    "add",
                    &each(&|i, tile| {
                        format!("            tile_{i} += (other + {}u) / {tile}u;\n", tile - 1)
                    }),
                ),
                ("tiles", &tiles),
                ("rest", &rest),
            ],
        );
        Shader {
            family: "groups",
            variant: format!("{rows} rows of {experts} experts over {} threads", self.threads),
            wgsl,
            workgroup: self.threads,
            workgroup_bytes: GroupRows::workgroup_bytes(experts),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check;

    #[test]
    fn its_text_is_valid_everywhere() {
        for (rows, experts, top) in [(4096, 32, 8), (16384, 128, 8), (2, 1, 1)] {
            let groups = Groups { rows, experts };
            let bindings = GroupRows::bindings().to_vec();
            let kernel = GroupRows { groups, top, count: "3u".into(), bindings, threads: 64 };
            let text = kernel.shader().wgsl;
            check::metal(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
            check::spirv(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        }
    }
}
