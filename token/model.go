package token

// piece is a token of one word, with its range of bytes in that word.
type piece struct {
	id       int32
	from, to int32
}

// model cuts one word into tokens.
type model interface {
	// cut appends the tokens of a word that is not empty to out.
	cut(word string, s *scratch, out []piece) []piece
}

// scratch is memory that the models use again from word to word. One call of Encode owns it.
type scratch struct {
	symbols []symbol
	queue   mergeQueue
	ranks   []uint64
}
