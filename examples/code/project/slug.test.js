function equals(got, want, what) {
  if (got !== want) throw new Error(`${what}: got ${JSON.stringify(got)}, want ${JSON.stringify(want)}`);
}

equals(slug('One'), 'one', 'one word');
equals(slug(' Spring sale '), 'spring-sale', 'two words');
equals(slug('What we do in May'), 'what-we-do-in-may', 'more words');
equals(slug('Rock  &  roll'), 'rock-roll', 'what is between words is one dash');
equals(shorten('what-we-do-in-may', 10), 'what-we-do', 'a word that just fits');
equals(shorten('what-we-do-in-may', 9), 'what-we', 'a word that does not');
'all tests passed';
