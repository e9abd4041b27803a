//! Tests of reading, printing and drawing. A printed listing is read back unchanged, damaged
//! lines do not panic, and drawings are well-formed, without texts that overlap.

use maps::{Entry, Space, read, to_dot, to_svg};
use proptest::prelude::*;
use roxmltree::{Document, Node};

/// A kernel's console: a listing with other lines between.
const CONSOLE: &str = "\
booting\r
@map space 0xffffffc000000000 0xfffffffffffff000 3\r
@map area 0xffffffc000100000 0xffffffc000102000 rw--d linear 8192 0 0 0 0 a <device> & \"more\"\r
@map area 0xffffffc080200000 0xffffffc080202000 r-x-- linear 8192 0 0 0 0 .text\r
@map area 0xffffffc080400000 0xffffffc080800000 rw--- linear 4194304 4194304 0 0 0 free memory\r
interrupted\r
@map area 0xffffffe000000000 0xffffffe100000000 rw--- lazy 0 0 0 0 0\r
@map table 2 0xffffff8000000000 0x80235000\r
@map table 1 0xffffffc000000000 0x80236000\r
@map table 0 0xffffffc000000000 0x80237000\r
@map run 0 0xffffffc000100000 2 0x100000 rw---\r
@map table 1 0xffffffc080000000 0x80238000\r
@map table 0 0xffffffc080200000 0x80239000\r
@map run 0 0xffffffc080200000 2 0x80200000 r-x--\r
@map run 1 0xffffffc080400000 2 0x80400000 rw---\r
@map end\r
[exit 0]\r
";

fn one() -> Space {
    read(CONSOLE).unwrap().remove(0)
}

/// A user program's address space that shows an object twice, and that has been forked.
const SHARED: &str = "\
@map space 0x40000000 0x80000000 3 parent & co\r
@map area 0x40000000 0x40004000 rw-u- object 16384 0 12288 0 4096 notes\r
@map object 0xffffffc080a01038 paged 0x0 16384 4096 8192 notes\r
@map area 0x40100000 0x40104000 rw-u- object-cow 16384 0 8192 4096 4096 notes\r
@map object 0xffffffc080a02070 snapshot 0x2000 16384 8192 0 notes\r
@map area 0x40104000 0x40108000 r--u- object 0 0 0 0 0 notes\r
@map object 0xffffffc080a01038 paged 0x0 16384 4096 8192 notes\r
@map area 0x40200000 0x40202000 rw-u- lazy 8192 0 8192 0 0 alloc\r
@map area 0x40300000 0x40301000 rw-u- object 4096 0 4096 0 0 object\r
@map object 0x10 slice 0x0 4096 0 4096 \r
@map table 2 0x0 0x80235000\r
@map table 1 0x40000000 0x80236000\r
@map table 0 0x40000000 0x80237000\r
@map run 0 0x40000000 4 0x80300000 r--u-\r
@map table 0 0x40200000 0x80238000 shared\r
@map run 0 0x40200000 2 0x80304000 r--u-\r
@map end\r
";

fn shared() -> Space {
    read(SHARED).unwrap().remove(0)
}

#[test]
fn a_listing_with_objects_and_shared_tables_is_read() {
    let space = shared();
    assert_eq!(space.name, "parent & co");
    assert_eq!((space.root.count(), space.root.count_shared()), (4, 1));
    let area = &space.areas[1];
    assert_eq!((area.shared, area.private, area.zero), (8192, 4096, 4096));
    let object = area.object.as_ref().unwrap();
    assert_eq!((&*object.kind, object.offset), ("snapshot", 0x2000));
    assert_eq!(space.areas[3].object, None);
    assert_eq!(
        space.areas[4].object.as_ref().unwrap().title(),
        "object 0x10"
    );
    assert!(space.is_shared() && !one().is_shared());
}

#[test]
fn a_drawing_shows_objects_and_who_has_frames() {
    let space = shared();
    assert_well_drawn(&space);
    let svg = to_svg(&space, "title");
    for words in [
        "memory objects",
        "notes + 0x2000",
        "0x40100000 + 0x2000, 16 KiB, object-cow",
        "0x40104000 + 0x0, 16 KiB, object",
        "of it 32 KiB shared, 4 KiB private, 8 KiB zero frame · 1 shared table",
        "has other owners",
        "class=\"lent\"",
        "class=\"shared\"",
        "class=\"zero\"",
    ] {
        assert!(svg.contains(words), "{words}");
    }
    // An object that is shown at two places is listed once.
    assert_eq!(svg.matches(">paged<").count(), 1);
    let dot = to_dot(&space, "title");
    assert!(dot.contains("8 KiB shared, 4 KiB private, 4 KiB zero, notes at 0x2000"));
    assert!(dot.contains("level 0 table in 0x80238000, shared"));
    let plain = to_svg(&one(), "title");
    assert!(!plain.contains("memory objects") && !plain.contains(">shared<"));
}

#[test]
fn a_console_is_read() {
    let space = one();
    assert_eq!(
        (space.areas.len(), space.root.count(), space.root.pages()),
        (4, 5, 6)
    );
    assert_eq!(space.areas[0].name, "a <device> & \"more\"");
    assert_eq!(space.areas[3].name, "");
    let second = space.root.tables().nth(1).unwrap();
    assert_eq!((second.vaddr, second.used()), (0xffff_ffc0_8000_0000, 3));
    assert!(matches!(second.entries[1], Entry::Run(run) if run.count == 2 && run.rights.write));
    assert_eq!(read("nothing\nof it"), Ok(Vec::new()));
    assert_eq!(
        read(&[CONSOLE, CONSOLE].concat()).unwrap(),
        [space.clone(), space]
    );
}

#[test]
fn a_printed_listing_is_read_back_unchanged() {
    for space in [one(), shared()] {
        assert_eq!(read(&space.to_string()), Ok(vec![space]));
    }
}

/// Leaves out each line, doubles it, and changes each of its words. The result is refused or
/// is a consistent listing.
#[test]
fn a_changed_listing_is_refused_or_consistent() {
    for console in [CONSOLE, SHARED] {
        change_each_line(console);
    }
}

fn change_each_line(console: &str) {
    let lines: Vec<&str> = console.lines().collect();
    for at in 0..lines.len() {
        for text in [vec![], vec![lines[at], lines[at]]] {
            let mut damaged = lines.clone();
            damaged.splice(at..=at, text);
            check(&damaged.join("\n"));
        }
        let words: Vec<&str> = lines[at].split(' ').collect();
        for word in 0..words.len() {
            for other in [
                "",
                "0",
                "0x0",
                "0xfffffffffffff000",
                "7",
                "18446744073709551616",
                "é",
                "\u{85}",
            ] {
                let mut words = words.clone();
                words[word] = other;
                let line = words.join(" ");
                let mut damaged = lines.clone();
                damaged[at] = &line;
                check(&damaged.join("\n"));
            }
        }
    }
}

/// Changes of [`CONSOLE`]: a text, what replaces it, and the line and the rule of the refusal.
const DAMAGE: [(&str, &str, usize, &str); 11] = [
    (
        "2 0xffffff8000000000",
        "1 0xffffff8000000000",
        8,
        "the first table must be the root, at an aligned address",
    ),
    (
        "0 0xffffffc000100000 2",
        "0 0xffffffc000100000 513",
        11,
        "pages must be sorted by address, aligned, and end inside the table",
    ),
    (
        "0 0xffffffc000100000 2",
        "0 0xffffffc000200000 2",
        11,
        "the address must be inside the table",
    ),
    (
        "1 0xffffffc080400000 2",
        "1 0xffffffc080401000 2",
        15,
        "pages must be sorted by address, aligned, and end inside the table",
    ),
    (
        "1 0xffffffc080400000 2",
        "1 0xffffffc080200000 2",
        15,
        "pages must be sorted by address, aligned, and end inside the table",
    ),
    (
        "table 1 0xffffffc08",
        "table 1 0xffffff808",
        12,
        "tables must be sorted by address, and aligned to what they translate",
    ),
    (
        "@map end",
        "@map start",
        16,
        "the first word must be area, object, table, run or end",
    ),
    ("@map end", "end", 17, "a listing must end with `@map end`"),
    (
        "8192 0 0 0 0 .text",
        "8192 8193 0 0 0 .text",
        4,
        "resident may not exceed the area, nor huge exceed resident",
    ),
    (
        "8192 0 0 0 0 .text",
        "8193 0 0 0 0 .text",
        4,
        "resident may not exceed the area, nor huge exceed resident",
    ),
    (
        "0xffffffc080202000 r",
        "0xffffffc080402000 r",
        5,
        "an area must be behind the one before it, and inside the space",
    ),
];

/// Changes of [`SHARED`], in the same form.
const DAMAGE_OF_SHARED: [(&str, &str, usize, &str); 6] = [
    (
        "16384 0 12288 0 4096 notes",
        "16384 0 12288 1 4096 notes",
        2,
        "shared, private and zero may not exceed resident",
    ),
    (
        "16384 0 12288 0 4096 notes",
        "16384 0 18446744073709551615 0 4096 notes",
        2,
        "shared, private and zero may not exceed resident",
    ),
    (
        "@map area 0x40000000 0x40004000 rw-u- object 16384 0 12288 0 4096 notes\r\n",
        "",
        2,
        "an object must come after the area that shows it",
    ),
    (
        "0xffffffc080a02070",
        "ffffffc080a02070",
        5,
        "the number of an object must be hexadecimal, as in 0x1000",
    ),
    (
        "8192 0 notes",
        "18446744073709551615 1 notes",
        5,
        "an object may not have 2^64 bytes",
    ),
    (
        "0x80238000 shared",
        "0x80238000 lent",
        15,
        "after the frame, only the word shared may follow",
    ),
];

#[test]
fn a_refusal_names_the_line_and_the_rule() {
    let of_console = DAMAGE.map(|damage| (CONSOLE, damage));
    let of_shared = DAMAGE_OF_SHARED.map(|damage| (SHARED, damage));
    for (console, (from, to, line, rule)) in of_console.into_iter().chain(of_shared) {
        let damage = read(&console.replacen(from, to, 1)).unwrap_err();
        assert_eq!((damage.line, damage.rule), (line, rule), "{from} as {to}");
        let text = format!("line {line}, `{}`: {rule}", damage.text);
        assert_eq!(damage.to_string(), text, "{from} as {to}");
    }
}

/// Asserts that a listing that is read can be printed, read back and drawn.
fn check(text: &str) {
    for space in read(text).unwrap_or_default() {
        assert_eq!(read(&space.to_string()), Ok(vec![space.clone()]));
        assert_well_drawn(&space);
        to_dot(&space, "title");
    }
}

/// Returns the left, right, top and bottom of a text.
fn place(node: Node) -> [f64; 4] {
    let number = |name| node.attribute(name).unwrap().parse::<f64>().unwrap();
    let size = match node.attribute("class").unwrap() {
        "title" => 20.0,
        "head" => 13.0,
        "plain" | "soft" => 11.5,
        _ => 10.0,
    };
    let width = node.text().unwrap_or_default().chars().count() as f64 * size * 0.6;
    let (x, y) = (number("x"), number("y"));
    [x, x + width, y - size * 0.75, y + size * 0.1]
}

/// Asserts that a drawing is well-formed XML, that its texts are inside it and do not overlap,
/// and that its rectangles are not empty.
fn assert_well_drawn(space: &Space) {
    let svg = to_svg(space, "a <title> & \u{1}");
    let document = Document::parse(&svg).unwrap_or_else(|error| panic!("{error}:\n{svg}"));
    let view = document.root_element().attribute("viewBox").unwrap();
    let ends: Vec<f64> = view.split(' ').map(|end| end.parse().unwrap()).collect();
    let words = document
        .descendants()
        .filter(|node| node.has_tag_name("text"));
    let mut words: Vec<_> = words.map(|node| (place(node), node.text())).collect();
    words.sort_by(|one, other| one.0[2].total_cmp(&other.0[2]));
    for (at, (one, text)) in words.iter().enumerate() {
        let inside = one[0] >= 0.0 && one[1] <= ends[2] && one[2] >= 0.0 && one[3] <= ends[3];
        assert!(inside, "{text:?} at {one:?} is not in {view}");
        for (other, over) in &words[at + 1..] {
            let apart = one[1] <= other[0] || other[1] <= one[0] || one[3] <= other[2];
            assert!(apart, "{text:?} at {one:?} and {over:?} at {other:?}");
        }
    }
    for node in document
        .descendants()
        .filter(|node| node.has_tag_name("rect"))
    {
        let size = ["width", "height"].map(|name| node.attribute(name).unwrap().parse::<f64>());
        assert!(
            size.iter().all(|size| *size.as_ref().unwrap() > 0.0),
            "{node:?}"
        );
    }
}

#[test]
fn drawings_show_areas_tables_and_pages() {
    let svg = to_svg(&one(), "title");
    for words in [
        ".text",
        "a &lt;device&gt; &amp; &quot;more&quot;",
        "2 × 2 MiB rw- 0x80400000",
        "4 GiB",
        "level 2",
    ] {
        assert!(svg.contains(words), "{words}");
    }
    let dot = to_dot(&one(), "a \"title\"");
    assert!(
        dot.contains("t2_ffffff8000000000 -> t1_ffffffc080000000;"),
        "{dot}"
    );
    assert!(dot.contains(r#"label="a \"title\"";"#), "{dot}");
    assert_eq!(dot.matches(" -> ").count(), 4);
}

/// Generates listings with areas and pages at random addresses.
fn listing() -> impl Strategy<Value = String> {
    let gap = prop_oneof![0..2_u64, 0..256_u64];
    let size = prop_oneof![1..3_u64, 1..1_u64 << 14];
    let areas = proptest::collection::vec((gap, size, 0..5_usize), 0..120);
    let pages = proptest::collection::vec((0..1_u64 << 27, 1..400_u64, 0..5_usize), 0..120);
    (areas, pages, 2..=5_u32).prop_map(|(areas, pages, levels)| written(areas, pages, levels))
}

const RIGHTS: [&str; 5] = ["rw---", "r-x--", "r--u-", "-----", "rw--n"];

fn written(areas: Vec<(u64, u64, usize)>, pages: Vec<(u64, u64, usize)>, levels: u32) -> String {
    let base = 1_u64 << 40;
    let mut text = format!("@map space {base:#x} {:#x} {levels}\n", 1_u64 << 46);
    let mut at = base;
    for (gap, size, kind) in areas {
        let (start, end) = (at + gap * 4096, at + (gap + size) * 4096);
        at = end.max(start + 4096);
        let (rights, resident) = (RIGHTS[kind], (at - start) / 8192 * 4096);
        let [shared, private, zero] = [0, 1, 2].map(|part| resident / 4096 * part / 3 * 4096);
        let zero = zero.min(resident - shared - private);
        text += &format!(
            "@map area {start:#x} {at:#x} {rights} {kind} {resident} 0 {shared} {private} {zero} {kind:0>60}\n"
        );
        if kind == 3 {
            text += &format!("@map object {gap:#x} paged 0x1000 4096 0 4096 {kind:0>60}\n");
        }
    }
    let mut pages = pages;
    pages.sort_unstable();
    let top = maps::entry_size(levels - 1);
    let root = base & !(top * 512 - 1);
    text += &format!("@map table {} {root:#x} 0x1000\n", levels - 1);
    let mut open: Vec<u64> = Vec::new();
    let mut free = base;
    for (page, count, kind) in pages {
        let vaddr = (base + page * 4096).max(free);
        if (vaddr - root) / top >= 512 {
            break;
        }
        for level in (0..levels - 1).rev() {
            let depth = (levels - 2 - level) as usize;
            let start = vaddr & !(maps::entry_size(level + 1) - 1);
            if open.get(depth) != Some(&start) {
                open.truncate(depth);
                open.push(start);
                text += &format!("@map table {level} {start:#x} 0x2000\n");
            }
        }
        let count = count.min(512 - vaddr / 4096 % 512);
        text += &format!("@map run 0 {vaddr:#x} {count} 0x3000 {}\n", RIGHTS[kind]);
        free = vaddr + count * 4096;
    }
    text + "@map end\n"
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn random_listings_are_read_and_drawn(text in listing()) {
        let spaces = read(&text).unwrap();
        prop_assert_eq!(spaces.len(), 1);
        prop_assert_eq!(spaces[0].to_string(), text);
        assert_well_drawn(&spaces[0]);
    }

    #[test]
    fn random_bytes_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        check(&format!("@map {}", String::from_utf8_lossy(&bytes)));
    }
}
