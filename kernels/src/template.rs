//! Templates: WGSL text with named holes, written `{{name}}`.

/// What every kernel's entry point is told: the hole `{{entry}}`.
pub const ENTRY: &str = "    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) tid: u32,
    @builtin(subgroup_invocation_id) lane: u32,
    @builtin(subgroup_size) lanes: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(num_subgroups) subgroups: u32,";

/// Fills every hole of `template`.
///
/// # Panics
/// If a hole has no text or a text no hole: templates and their callers are written together, and
/// every family has a test that fills it.
pub fn fill(template: &str, holes: &[(&str, &str)]) -> String {
    let mut text = template.replace("{{entry}}", ENTRY);
    for (name, value) in holes {
        let hole = format!("{{{{{name}}}}}");
        assert!(text.contains(&hole), "the template has no hole {hole}");
        text = text.replace(&hole, value);
    }
    assert!(!text.contains("{{"), "a hole is left: {text}");
    text
}
