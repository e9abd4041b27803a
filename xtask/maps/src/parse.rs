//! Reads what a kernel says of its address spaces, and checks that it makes sense.

use std::fmt;

use crate::{Area, ENTRIES, Entry, MOST_LEVELS, Memory, Rights, Run, Space, Table, entry_size};

/// What a line that belongs to a listing begins with.
pub const MARK: &str = "@map ";

/// A line that makes no sense, or not where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damaged {
    /// Which line of the text, counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub what: &'static str,
}

impl fmt::Display for Damaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

impl std::error::Error for Damaged {}

type Checked<T = ()> = Result<T, &'static str>;

/// All address spaces that a console tells of, in order. Lines without the
/// [`MARK`] are somebody else's.
///
/// # Errors
///
/// The first line that makes no sense, or the last if a listing has no end.
pub fn read(console: &str) -> Result<Vec<Space>, Damaged> {
    let mut spaces = Vec::new();
    let mut open = None;
    let mut line = 0;
    for text in console.lines() {
        line += 1;
        if let Some(words) = text.strip_prefix(MARK) {
            take(words.trim_end(), &mut open, &mut spaces)
                .map_err(|what| Damaged { line, what })?;
        }
    }
    match open {
        None => Ok(spaces),
        Some(_) => Err(Damaged {
            line,
            what: "a listing without an end",
        }),
    }
}

/// Takes a line into the listing that is open.
fn take(line: &str, open: &mut Option<Open>, spaces: &mut Vec<Space>) -> Checked {
    let (kind, rest) = line.split_once(' ').unwrap_or((line, ""));
    if kind == "space" {
        return match open.replace(Open::begin(Words(rest))?) {
            None => Ok(()),
            Some(_) => Err("a listing in a listing"),
        };
    }
    let listing = open.as_mut().ok_or("no listing has begun")?;
    match kind {
        "area" => listing.area(Words(rest)),
        "table" => listing.table(Words(rest)),
        "run" => listing.run(Words(rest)),
        "end" => {
            spaces.extend(open.take().map(Open::end).transpose()?);
            Words(rest).end()
        }
        _ => Err("neither area, table, run nor end"),
    }
}

/// A listing that has begun.
struct Open {
    start: u64,
    end: u64,
    levels: u32,
    areas: Vec<Area>,
    /// The tables that may yet get entries, the root first.
    path: Vec<Table>,
}

impl Open {
    fn begin(mut words: Words) -> Checked<Self> {
        let (start, end) = (words.page()?, words.page()?);
        let levels = words.level()?;
        words.end()?;
        match start < end && levels > 0 {
            true => Ok(Self {
                start,
                end,
                levels,
                areas: Vec::new(),
                path: Vec::new(),
            }),
            false => Err("no address, or no level"),
        }
    }

    fn area(&mut self, mut words: Words) -> Checked {
        let area = Area {
            start: words.page()?,
            end: words.page()?,
            rights: words.rights()?,
            frames: words.next()?.to_owned(),
            resident: words.number()?,
            huge: words.number()?,
            name: words.0.trim().to_owned(),
        };
        let free = self.areas.last().map_or(self.start, |last| last.end);
        if area.start < free || area.end <= area.start || area.end > self.end {
            return Err("an area out of place");
        }
        if area.resident > area.end - area.start || area.huge > area.resident {
            return Err("more memory than addresses");
        }
        if !self.path.is_empty() {
            return Err("an area behind the page table");
        }
        self.areas.push(area);
        Ok(())
    }

    fn table(&mut self, mut words: Words) -> Checked {
        let table = Table {
            level: words.level()?,
            vaddr: words.page()?,
            frame: words.page()?,
            entries: Vec::new(),
        };
        words.end()?;
        if self.path.is_empty() {
            let aligned = table.vaddr.is_multiple_of(entry_size(table.level));
            if table.level + 1 != self.levels || !aligned {
                return Err("not the root");
            }
            self.path.push(table);
            return Ok(());
        }
        let parent = self.parent(table.level + 1)?;
        if free(parent)?
            > parent
                .index(table.vaddr)
                .ok_or("a table of another table")?
            || !table.vaddr.is_multiple_of(entry_size(table.level + 1))
        {
            return Err("a table out of place");
        }
        self.path.push(table);
        Ok(())
    }

    fn run(&mut self, mut words: Words) -> Checked {
        let level = words.level()?;
        let run = Run {
            vaddr: words.page()?,
            count: words.number()?,
            paddr: words.page()?,
            rights: words.rights()?,
        };
        words.end()?;
        let table = self.parent(level)?;
        let index = table.index(run.vaddr).ok_or("a page of another table")?;
        let aligned = run.vaddr.is_multiple_of(entry_size(level));
        if !aligned || index < free(table)? || !(1..=ENTRIES - index).contains(&run.count) {
            return Err("pages out of place");
        }
        table.entries.push(Entry::Run(run));
        Ok(())
    }

    /// The open table of a level. What lies below it has all its entries.
    fn parent(&mut self, level: u32) -> Checked<&mut Table> {
        while let Some(done) = self.path.pop_if(|table| table.level < level) {
            match self.path.last_mut() {
                Some(parent) => parent.entries.push(Entry::Table(done)),
                None => return Err("above the root"),
            }
        }
        let last = self.path.last_mut().filter(|table| table.level == level);
        last.ok_or("no table of that level is open")
    }

    fn end(mut self) -> Checked<Space> {
        self.parent(self.levels - 1)?;
        let root = self.path.pop().ok_or("no page table")?;
        Ok(Space {
            start: self.start,
            end: self.end,
            levels: self.levels,
            areas: self.areas,
            root,
        })
    }
}

/// The first entry of a table behind all that are in use.
fn free(table: &Table) -> Checked<u64> {
    let (vaddr, count) = match table.entries.last() {
        None => return Ok(0),
        Some(Entry::Table(last)) => (last.vaddr, 1),
        Some(Entry::Run(last)) => (last.vaddr, last.count),
    };
    Ok(table.index(vaddr).ok_or("an entry of another table")? + count)
}

/// What is left of a line.
struct Words<'a>(&'a str);

impl<'a> Words<'a> {
    fn next(&mut self) -> Checked<&'a str> {
        let (word, rest) = self.0.split_once(' ').unwrap_or((self.0, ""));
        self.0 = rest;
        match word.is_empty() || word.contains(char::is_whitespace) {
            true => Err("a word is missing"),
            false => Ok(word),
        }
    }

    fn end(&self) -> Checked {
        match self.0.is_empty() {
            true => Ok(()),
            false => Err("more words than there should be"),
        }
    }

    fn number(&mut self) -> Checked<u64> {
        let word = self.next()?;
        let digits = word.bytes().all(|byte| byte.is_ascii_digit());
        let number = word.parse().ok().filter(|_| digits);
        number.ok_or("not a number")
    }

    fn level(&mut self) -> Checked<u32> {
        let number = u32::try_from(self.number()?).ok();
        let level = number.filter(|level| *level <= MOST_LEVELS);
        level.ok_or("no such level")
    }

    /// The address of a page or a frame.
    fn page(&mut self) -> Checked<u64> {
        let digits = self
            .next()?
            .strip_prefix("0x")
            .filter(|digits| !digits.starts_with('+'));
        let address = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok());
        let aligned = address.filter(|address| address.is_multiple_of(4096));
        aligned.ok_or("not the address of a page")
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
        // Each letter in its place, and no other.
        match rights.to_string() == word {
            true => Ok(rights),
            false => Err("no rights"),
        }
    }
}
