package grammar

// Limits of sources, in the unit of the comment. What exceeds one is refused by Compile with *TooLarge.
const (
	maxSource      = 1 << 20 // bytes of all texts of a source together
	maxNesting     = 64      // sources within each other
	maxSources     = 4096    // sources of a source
	maxNodes       = 1 << 18 // nodes of the automaton
	maxSteps       = 1 << 22 // steps of Compile: nodes, edges, and schemas looked at
	maxRegex       = 1 << 14 // bytes of a regular expression
	maxExpand      = 1 << 16 // instructions of a regular expression
	maxPattern     = 1 << 14 // states of a regular expression, or of a text with a pattern and a length
	maxSchemaDepth = 256     // objects and arrays of a schema within each other
	maxVariants    = 1 << 15 // alternatives of a schema
	maxMembers     = 1 << 10 // properties of an object
	maxValues      = 1 << 18 // values of a schema
	maxCount       = 1 << 20 // repetitions that are counted (items, characters)
)

// Limits of matching. A text that would exceed one is not admitted, in such a way that what is admitted can always be completed.
const (
	maxDepth  = 1000    // frames of a stack: a JSON object or array within another takes two or three
	maxStacks = 2048    // stacks of a state; of more, the first are kept
	maxMet    = 1 << 16 // states and their stacks that the tokens of a vocabulary can lead to; if more, only tokens of one byte are admitted
)

// Limits of the cache of a grammar with a vocabulary. When it is full it is emptied.
const (
	maxSets      = 1 << 13  // states
	maxFrames    = 1 << 17  // frames of stacks
	maxMaskBytes = 16 << 20 // bytes of masks and what belongs to them
	maxExits     = 1 << 14  // places of a vocabulary where a part of a grammar ends
	maxToken     = 1 << 12  // bytes of a token; longer ones are never admitted
)
