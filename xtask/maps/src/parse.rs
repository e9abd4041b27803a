//! Reads listings of address spaces, and checks each line.

use std::fmt;

use crate::{
    Area, ENTRIES, Entry, MAX_LEVELS, Memory, Object, Rights, Run, Space, Table, entry_size,
};

/// The text with which each line of a listing begins.
pub const MARK: &str = "@map ";

/// A line of a listing that is not valid, by itself or after the lines before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damaged {
    /// The number of the line in the text, counted from 1.
    pub line: usize,
    /// The line itself.
    pub text: String,
    /// The rule that the line breaks.
    pub rule: &'static str,
}

impl fmt::Display for Damaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, text, rule } = self;
        write!(f, "line {line}, `{text}`: {rule}")
    }
}

impl std::error::Error for Damaged {}

/// A value, or the rule that a line breaks.
type Checked<T = ()> = Result<T, &'static str>;

/// Reads all listings on a console, in order. Lines that do not begin with [`MARK`] are
/// skipped.
///
/// # Errors
///
/// Fails with the first line that is not valid, or with the last line if a listing has no end.
pub fn read(console: &str) -> Result<Vec<Space>, Damaged> {
    let mut spaces = Vec::new();
    let mut open = None;
    let (mut line, mut text) = (0, "");
    let damaged = |line, text: &str, rule| Damaged {
        line,
        text: text.trim_end().to_owned(),
        rule,
    };
    for next in console.lines() {
        (line, text) = (line + 1, next);
        if let Some(fields) = text.strip_prefix(MARK) {
            add_line(fields.trim_end(), &mut open, &mut spaces)
                .map_err(|rule| damaged(line, text, rule))?;
        }
    }
    match open {
        None => Ok(spaces),
        Some(_) => Err(damaged(line, text, "a listing must end with `@map end`")),
    }
}

/// Adds a line to the listing that is open. A line `space` opens one, and a line `end` moves
/// it to `spaces`.
fn add_line(line: &str, open: &mut Option<OpenListing>, spaces: &mut Vec<Space>) -> Checked {
    let (kind, rest) = line.split_once(' ').unwrap_or((line, ""));
    if kind == "space" {
        return match open.replace(OpenListing::begin(Fields(rest))?) {
            None => Ok(()),
            Some(_) => Err("`@map end` must come before the next `@map space`"),
        };
    }
    let listing = open
        .as_mut()
        .ok_or("a listing must begin with `@map space`")?;
    match kind {
        "area" => listing.area(Fields(rest)),
        "object" => listing.object(Fields(rest)),
        "table" => listing.table(Fields(rest)),
        "run" => listing.run(Fields(rest)),
        "end" => {
            spaces.extend(open.take().map(OpenListing::end).transpose()?);
            Fields(rest).end()
        }
        _ => Err("the first word must be area, object, table, run or end"),
    }
}

/// A listing whose line `end` has not been read yet.
struct OpenListing {
    name: String,
    start: u64,
    end: u64,
    levels: u32,
    areas: Vec<Area>,
    /// The tables that may still get entries: the root, one of its children, and so on.
    path: Vec<Table>,
}

impl OpenListing {
    fn begin(mut fields: Fields) -> Checked<Self> {
        let (start, end) = (fields.page()?, fields.page()?);
        let levels = fields.level()?;
        match start < end && levels > 0 {
            true => Ok(Self {
                name: fields.rest(),
                start,
                end,
                levels,
                areas: Vec::new(),
                path: Vec::new(),
            }),
            false => Err("the end must be above the start, and the number of levels above 0"),
        }
    }

    fn area(&mut self, mut fields: Fields) -> Checked {
        let area = Area {
            start: fields.page()?,
            end: fields.page()?,
            rights: fields.rights()?,
            frames: fields.next()?.to_owned(),
            resident: fields.number()?,
            huge: fields.number()?,
            shared: fields.number()?,
            private: fields.number()?,
            zero: fields.number()?,
            name: fields.rest(),
            object: None,
        };
        let free = self.areas.last().map_or(self.start, |last| last.end);
        if area.start < free || area.end <= area.start || area.end > self.end {
            return Err("an area must be behind the one before it, and inside the space");
        }
        if area.resident > area.end - area.start || area.huge > area.resident {
            return Err("resident may not exceed the area, nor huge exceed resident");
        }
        let parts = [area.shared, area.private, area.zero];
        let sum = parts.into_iter().try_fold(0_u64, u64::checked_add);
        if sum.is_none_or(|sum| sum > area.resident) {
            return Err("shared, private and zero may not exceed resident");
        }
        if !self.path.is_empty() {
            return Err("areas must come before the page table");
        }
        self.areas.push(area);
        Ok(())
    }

    fn object(&mut self, mut fields: Fields) -> Checked {
        let object = Object {
            id: fields.hexadecimal()?,
            kind: fields.next()?.to_owned(),
            offset: fields.page()?,
            len: fields.number()?,
            shared: fields.number()?,
            private: fields.number()?,
            name: fields.rest(),
        };
        if object.shared.checked_add(object.private).is_none() {
            return Err("an object may not have 2^64 bytes");
        }
        let area = self.areas.last_mut().filter(|_| self.path.is_empty());
        match area.filter(|area| area.object.is_none()) {
            Some(area) => area.object = Some(object),
            None => return Err("an object must come after the area that shows it"),
        }
        Ok(())
    }

    fn table(&mut self, mut fields: Fields) -> Checked {
        let table = Table {
            level: fields.level()?,
            vaddr: fields.page()?,
            frame: fields.page()?,
            is_shared: fields.is_shared()?,
            entries: Vec::new(),
        };
        if self.path.is_empty() {
            let aligned = table.vaddr.is_multiple_of(entry_size(table.level));
            if table.level + 1 != self.levels || !aligned {
                return Err("the first table must be the root, at an aligned address");
            }
            self.path.push(table);
            return Ok(());
        }
        let parent = self.close_tables_below(table.level + 1)?;
        let index = parent
            .index(table.vaddr)
            .ok_or("the address must be inside the table above")?;
        if first_free_entry(parent)? > index
            || !table.vaddr.is_multiple_of(entry_size(table.level + 1))
        {
            return Err("tables must be sorted by address, and aligned to what they translate");
        }
        self.path.push(table);
        Ok(())
    }

    fn run(&mut self, mut fields: Fields) -> Checked {
        let level = fields.level()?;
        let run = Run {
            vaddr: fields.page()?,
            count: fields.number()?,
            paddr: fields.page()?,
            rights: fields.rights()?,
        };
        fields.end()?;
        let table = self.close_tables_below(level)?;
        let index = table
            .index(run.vaddr)
            .ok_or("the address must be inside the table")?;
        let aligned = run.vaddr.is_multiple_of(entry_size(level));
        let fits = (1..=ENTRIES - index).contains(&run.count);
        if !aligned || index < first_free_entry(table)? || !fits {
            return Err("pages must be sorted by address, aligned, and end inside the table");
        }
        table.entries.push(Entry::Run(run));
        Ok(())
    }

    /// Adds the open tables below `level` to their parents, since they cannot get further
    /// entries. Returns the open table of that level.
    fn close_tables_below(&mut self, level: u32) -> Checked<&mut Table> {
        while let Some(done) = self.path.pop_if(|table| table.level < level) {
            match self.path.last_mut() {
                Some(parent) => parent.entries.push(Entry::Table(done)),
                None => return Err("the level may not be above that of the root"),
            }
        }
        let last = self.path.last_mut().filter(|table| table.level == level);
        last.ok_or("a table of this level must come before")
    }

    fn end(mut self) -> Checked<Space> {
        self.close_tables_below(self.levels - 1)?;
        let root = self
            .path
            .pop()
            .ok_or("the listing must have a page table")?;
        Ok(Space {
            name: self.name,
            start: self.start,
            end: self.end,
            levels: self.levels,
            areas: self.areas,
            root,
        })
    }
}

/// The index of the first entry behind all present ones.
fn first_free_entry(table: &Table) -> Checked<u64> {
    let (vaddr, count) = match table.entries.last() {
        None => return Ok(0),
        Some(Entry::Table(last)) => (last.vaddr, 1),
        Some(Entry::Run(last)) => (last.vaddr, last.count),
    };
    let index = table.index(vaddr);
    Ok(index.ok_or("the entry before must be inside the table")? + count)
}

/// Reads a number that begins with `0x`.
fn parse_hexadecimal(word: &str) -> Option<u64> {
    let digits = word.strip_prefix("0x")?;
    match digits.starts_with('+') {
        true => None,
        false => u64::from_str_radix(digits, 16).ok(),
    }
}

/// The fields of a line that have not been read yet.
struct Fields<'a>(&'a str);

impl<'a> Fields<'a> {
    fn next(&mut self) -> Checked<&'a str> {
        let (word, rest) = self.0.split_once(' ').unwrap_or((self.0, ""));
        self.0 = rest;
        match word.is_empty() || word.contains(char::is_whitespace) {
            true => Err("a field is missing, or not separated by one blank"),
            false => Ok(word),
        }
    }

    fn end(&self) -> Checked {
        match self.0.is_empty() {
            true => Ok(()),
            false => Err("the line has too many fields"),
        }
    }

    /// The rest of the line, which is a name.
    fn rest(&self) -> String {
        self.0.trim().to_owned()
    }

    /// Whether the rest of the line is the word `shared`. Otherwise it must be empty.
    fn is_shared(&self) -> Checked<bool> {
        match self.0 {
            "" => Ok(false),
            "shared" => Ok(true),
            _ => Err("after the frame, only the word shared may follow"),
        }
    }

    fn number(&mut self) -> Checked<u64> {
        let word = self.next()?;
        let digits = word.bytes().all(|byte| byte.is_ascii_digit());
        let number = word.parse().ok().filter(|_| digits);
        number.ok_or("a number must be decimal, and below 2^64")
    }

    fn level(&mut self) -> Checked<u32> {
        let number = u32::try_from(self.number()?).ok();
        let level = number.filter(|level| *level <= MAX_LEVELS);
        level.ok_or("a level must be 0 to 5")
    }

    /// The address of a page or a frame.
    fn page(&mut self) -> Checked<u64> {
        let address = parse_hexadecimal(self.next()?);
        let aligned = address.filter(|address| address.is_multiple_of(4096));
        aligned.ok_or("an address must be hexadecimal, as in 0x1000, and a multiple of 4096")
    }

    fn hexadecimal(&mut self) -> Checked<u64> {
        let number = parse_hexadecimal(self.next()?);
        number.ok_or("the number of an object must be hexadecimal, as in 0x1000")
    }

    fn rights(&mut self) -> Checked<Rights> {
        let word = self.next()?;
        let has = |letter| word.contains(letter);
        let rights = Rights {
            read: has('r'),
            write: has('w'),
            execute: has('x'),
            user: has('u'),
            memory: match () {
                () if has('d') => Memory::Device,
                () if has('n') => Memory::Uncached,
                () => Memory::Normal,
            },
        };
        // The word must hold each letter in its place, and no others.
        match rights.to_string() == word {
            true => Ok(rights),
            false => Err("rights must be five characters of `rwxu` and `d` or `n`, or `-`"),
        }
    }
}
