// Makes the part of an address out of a title.
function slug(title) {
  return title.trim().toLowerCase().replace(' ', '-').replace(/[^a-z0-9-]/g, '');
}

// The first `length` characters, not in the middle of a word.
function shorten(text, length) {
  if (text.length <= length) return text;
  const cut = text.slice(0, length);
  return cut.slice(0, cut.lastIndexOf('-'));
}
