//! `docs/commands-reference.md` has the tables as they are.

use std::path::Path;

#[test]
fn the_page_has_the_tables() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/commands-reference.md");
    let expected = command::reference();
    if std::env::var_os("TVARR_WRITE_DOCS").is_some() {
        std::fs::write(&path, &expected).expect("the page can be written");
    }
    let page = std::fs::read_to_string(&path).expect("the page is there");
    let differs = page.lines().zip(expected.lines()).position(|(is, should)| is != should);
    let problem =
        format!("{} differs at line {differs:?}: run this test with TVARR_WRITE_DOCS=1", path.display());
    assert!(page == expected, "{problem}");
}
