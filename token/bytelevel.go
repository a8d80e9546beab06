package token

// Byte-level vocabularies write each byte as one visible character: itself where it is printable Latin-1, and one from
// U+0100 on, in order, where it is not. (GPT-2, 2019.)

// byteRunes are the characters of the bytes.
var byteRunes = func() (t [256]rune) {
	next := rune(256)
	for b := range rune(256) {
		if '!' <= b && b <= '~' || 0xa1 <= b && b <= 0xac || 0xae <= b {
			t[b] = b
		} else {
			t[b] = next
			next++
		}
	}
	return t
}()

// runeBytes are the bytes of the characters; -1 where a character stands for none.
var runeBytes = func() (t [512]int16) {
	for r := range t {
		t[r] = -1
	}
	for b, r := range byteRunes {
		t[r] = int16(b)
	}
	return t
}()

// byteOf returns the byte that a character stands for.
func byteOf(r rune) (byte, bool) {
	if r < 0 || int(r) >= len(runeBytes) || runeBytes[r] < 0 {
		return 0, false
	}
	return byte(runeBytes[r]), true
}

// bytesOf returns the bytes that a vocabulary entry stands for; ok is false where it has a character that stands for none.
func bytesOf(entry string) (raw string, ok bool) {
	b := make([]byte, 0, len(entry))
	for _, r := range entry {
		c, ok := byteOf(r)
		if !ok {
			return "", false
		}
		b = append(b, c)
	}
	return string(b), true
}
