//! Templates: WGSL text with named holes, written `{{name}}`.

/// Fills every hole of `template`.
///
/// # Panics
/// If a hole has no text or a text no hole: templates and their callers are written together, and
/// every family has a test that fills it.
pub fn fill(template: &str, holes: &[(&str, &str)]) -> String {
    let mut text = template.to_string();
    for (name, value) in holes {
        let hole = format!("{{{{{name}}}}}");
        assert!(text.contains(&hole), "the template has no hole {hole}");
        text = text.replace(&hole, value);
    }
    assert!(!text.contains("{{"), "a hole is left: {text}");
    text
}
