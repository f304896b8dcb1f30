//! Cutting of long documents, so that a domain of one work has held-out text, and a small held-out split has enough
//! pieces to compute an interval.

use crate::preparation::collected::Collected;
use crate::preparation::rule::Rule;
use crate::preparation::spool::Spool;
use crate::preparation::survey::groups_of;
use crate::shards::group::Tag;
use crate::sources::document::{Part, own_text};
use crate::sources::normalize::normalize;
use crate::sources::pieces::{cut, cut_near};
use crate::{DataError, GroupKind, Grouping};

/// Minimum size in bytes of a domain's only document for it to be cut in two, with its end held out.
const SHORTEST_LONE: u64 = 512;
/// Minimum number of held-out documents. If there are fewer, the long ones are cut into about this many pieces in
/// total.
const PIECES: u64 = 16;
/// Number of pieces if each passage is a group: enough groups for both `dev` and `test`.
const SECTIONS: u64 = 64;
/// Minimum bytes of a piece. A shorter one would give the model hardly any context.
pub(crate) const SHORTEST_PIECE: u64 = 512;

/// Cuts a domain's only document and holds out its end: `share` of it, but at least the smaller of `least` bytes and a
/// fifth of the document, and at most four fifths.
///
/// # Errors
/// Fails if a temporary file can't be read or written.
pub(crate) fn hold_out(domain: &mut Collected, share: f64, least: u64) -> Result<(), DataError> {
    let whole = match domain.train.documents {
        0 => &domain.heldout,
        _ => &domain.train,
    };
    let bytes = whole.bytes;
    let share = (share * bytes as f64) as u64;
    let tail = share.max(least.min(bytes / 5)).min(bytes - bytes / 5);
    let (mut train, mut heldout) = (whole.empty()?, whole.empty()?);
    let mut at = 0;
    let mut is_text = bytes >= SHORTEST_LONE;
    whole.read_kept(&mut |entry| {
        let [part] = &entry.parts[..] else {
            is_text = false;
            return Ok(false);
        };
        is_text &= part.scored && !part.from_template;
        let end = at + part.text.len() as u64;
        let begins = (bytes - tail).clamp(at, end) - at;
        let mut place = begins as usize;
        if 0 < begins && at + begins < end {
            place = cut_near(&part.text, place, (tail / 2) as usize);
        }
        let (head, rest) = part.text.split_at(place);
        push_text(&mut train, head, entry.tag, at > 0)?;
        push_text(&mut heldout, rest, entry.tag, false)?;
        at = end;
        Ok(true)
    })?;
    if is_text && train.documents > 0 && heldout.documents > 0 {
        (domain.train, domain.heldout) = (train, heldout);
        domain.manifest.tail_held_out = true;
        domain.grouping = Grouping::of(GroupKind::Section);
    }
    Ok(())
}

/// Makes each document of a domain with a single group a group of its own, and assigns these to the splits by `rule`.
///
/// # Errors
/// Fails if a temporary file can't be read or written.
pub(crate) fn regroup(domain: &mut Collected, rule: Rule) -> Result<(), DataError> {
    let (mut train, mut heldout) = (domain.train.empty()?, domain.train.empty()?);
    let mut folded = String::new();
    for spool in [&domain.heldout, &domain.train] {
        let mut tag = Tag::default();
        let mut last = None;
        spool.read_kept(&mut |entry| {
            let continues = entry.continues && last == Some(entry.index.wrapping_sub(1));
            if !continues {
                let text: String = entry.parts.iter().map(|part| part.text.as_str()).collect();
                normalize(&text, &mut folded);
                tag = Tag::of(&folded, rule.seed);
            }
            last = Some(entry.index);
            let origin = entry.tag.origin;
            let side = match rule.holds_out(tag.side) {
                true => &mut heldout,
                false => &mut train,
            };
            side.push(&entry.parts, tag.at(origin.file, origin.record), continues)?;
            Ok(true)
        })?;
    }
    (domain.train, domain.heldout) = (train, heldout);
    domain.grouping = Grouping::of(GroupKind::Section);
    Ok(())
}

/// Makes each passage of a domain a group, if only one group is held out. Otherwise no group would be left for `test`
/// after a choice on `dev`.
///
/// # Errors
/// Fails if a temporary file can't be read.
pub(crate) fn part_lone_group(domain: &mut Collected) -> Result<(), DataError> {
    if groups_of(&domain.heldout, 2)? == 1 {
        domain.grouping = Grouping::of(GroupKind::Section);
    }
    Ok(())
}

fn push_text(spool: &mut Spool, text: &str, tag: Tag, continues: bool) -> Result<(), DataError> {
    if !text.trim().is_empty() {
        spool.push(&[Part::text(text, true)], tag, continues)?;
    }
    Ok(())
}

/// Cuts the long documents of a held-out split with few documents, so that a spread of the scores can be computed. If
/// passages are the groups, each piece becomes a group.
///
/// # Errors
/// Fails if a temporary file can't be read or written.
pub(crate) fn cut_few(domain: &mut Collected) -> Result<(), DataError> {
    let heldout = &domain.heldout;
    let is_sections = domain.grouping.kind == GroupKind::Section;
    let wanted = if is_sections { SECTIONS } else { PIECES };
    if heldout.documents < wanted {
        let longest = (heldout.bytes / wanted).max(SHORTEST_PIECE) as usize;
        let (pieces, documents) = cut_long(heldout, longest)?;
        if documents > 0 {
            domain.manifest.heldout_cut = documents;
            domain.heldout = pieces;
        }
    }
    if is_sections {
        domain.heldout = sections(&domain.heldout)?;
    }
    Ok(())
}

/// Cuts the documents of `heldout` that have at least twice `longest` bytes; returns all documents, and the number
/// that were cut.
fn cut_long(heldout: &Spool, longest: usize) -> Result<(Spool, u64), DataError> {
    let mut pieces = heldout.empty()?;
    let mut documents = 0;
    heldout.read_kept(&mut |entry| {
        let tag = entry.tag;
        let text = match &entry.parts[..] {
            [part] if part.scored && !part.from_template && part.text.len() >= 2 * longest => {
                &part.text
            }
            parts => return pieces.push(parts, tag, false).map(|_| true),
        };
        documents += 1;
        let mut piece = String::new();
        let mut continues = false;
        // A piece of white space alone is joined to the next piece.
        for part in cut(text, longest) {
            piece += part;
            if !piece.trim().is_empty() {
                push_text(&mut pieces, &piece, tag, continues)?;
                piece.clear();
                continues = true;
            }
        }
        push_text(&mut pieces, &piece, tag, continues)?;
        Ok(true)
    })?;
    Ok((pieces, documents))
}

/// Makes each document or piece a group of its own; equal texts form one group.
fn sections(heldout: &Spool) -> Result<Spool, DataError> {
    let mut grouped = heldout.empty()?;
    let mut folded = String::new();
    heldout.read_kept(&mut |entry| {
        normalize(&own_text(&entry.parts), &mut folded);
        let mut tag = entry.tag;
        tag.origin.group = Tag::of(&folded, 0).origin.group;
        grouped.push(&entry.parts, tag, false)?;
        Ok(true)
    })?;
    Ok(grouped)
}
