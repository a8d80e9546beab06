package grammar

// frame is where to go on when a part is complete, and the stack below. Equal stacks are one pointer within a cache.
type frame struct {
	ret   int32 // node
	count int32 // times that the loop at ret was gone through
	depth int32 // frames from here down
	below *frame
}

func (f *frame) height() int32 {
	if f == nil {
		return 0
	}
	return f.depth
}

// stack is a node with what is below it.
type stack struct {
	node int32
	on   *frame
}

// set is a state: the stacks that the bytes so far can have led to, each at a node that takes a byte. It says the same however it was reached,
// but for which of more than maxStacks were left out.
type set struct {
	stacks  []stack
	accept  bool   // the answer may end
	exit    bool   // the part that was looked at by itself may end
	cut     bool   // stacks were left out because of a limit
	deepest int32  // frames of the highest stack that was seen on the way here
	next    []*set // by class of byte; nil: not known yet
	mask    []uint64
	part    *part  // if all stacks are on bottom
	run     *run   // if they are in a character
	walk    int    // the last walk that met it
	visits  int    // in that walk
	plain   groups // see groups; none before that walk visited it often
	plains  groups // the same for good, if follow is known
	follow  *set   // where plain characters lead
}

// dead is the set without stacks.
func (s *set) dead() bool { return len(s.stacks) == 0 && !s.accept && !s.exit }

// frameKey and setKey find equal ones.
type frameKey struct {
	ret, count int32
	below      *frame
}

// cache keeps states of a grammar and what a vocabulary's tokens do in them.
type cache struct {
	g         *Grammar
	v         *Vocabulary
	age       int // times that it was emptied
	frames    map[frameKey]*frame
	sets      map[string]*set
	maskBytes int
	todo      []item
	seen      map[item]struct{}
	key       []byte
	ids       map[*frame]uint32
	path      []*set
	none      *set
	bottom    *frame // the stack of a part that is looked at by itself: what is below is not known

	walks   int   // so far
	met     int   // sets and stacks of the walk
	widest  int   // stacks of its largest set
	highest int32 // frames of its highest stack
}

// item is a node that is still to be followed, with its stack.
type item struct {
	node, count int32
	on          *frame
}

func newCache(g *Grammar, v *Vocabulary) *cache {
	c := &cache{g: g, v: v, path: make([]*set, v.longest+2), none: &set{}, bottom: &frame{}}
	c.empty()
	c.age = 0
	return c
}

// empty forgets everything. Sets that matchers hold stay valid by themselves; they are brought into the cache again when used.
func (c *cache) empty() {
	c.age++
	c.frames = map[frameKey]*frame{}
	c.sets = map[string]*set{}
	c.ids = map[*frame]uint32{nil: 0, c.bottom: 1}
	c.seen = map[item]struct{}{}
	c.maskBytes = 0
}

// full says that it is time to empty it.
func (c *cache) full() bool {
	return len(c.sets) > maxSets || len(c.frames) > maxFrames || c.maskBytes > maxMaskBytes
}

func (c *cache) push(ret, count int32, below *frame) *frame {
	key := frameKey{ret, count, below}
	if f, ok := c.frames[key]; ok {
		return f
	}
	f := &frame{ret: ret, count: count, depth: below.height() + 1, below: below}
	c.frames[key] = f
	c.ids[f] = uint32(len(c.ids))
	return f
}

// keep gives the set that equals s, which becomes it if there is none.
func (c *cache) keep(s *set) *set {
	k := c.key[:0]
	flags := byte(0)
	for i, on := range []bool{s.accept, s.exit, s.cut} {
		if on {
			flags |= 1 << i
		}
	}
	k = append(k, flags, byte(s.deepest), byte(s.deepest>>8))
	for _, st := range s.stacks {
		id := c.ids[st.on]
		k = append(k, byte(st.node), byte(st.node>>8), byte(st.node>>16), byte(id), byte(id>>8), byte(id>>16))
	}
	c.key = k
	if old, ok := c.sets[string(k)]; ok {
		return old
	}
	s.next = make([]*set, c.g.classes)
	c.sets[string(k)] = s
	return s
}

// begin is the state before the first byte, at a node on a stack.
func (c *cache) begin(node int32, on *frame) *set {
	c.todo = append(c.todo[:0], item{node: node, on: on})
	return c.close()
}

// resume is the state behind the part whose frame is f.
func (c *cache) resume(f *frame) *set {
	c.todo = append(c.todo[:0], item{f.ret, f.count, f.below})
	return c.close()
}

// step is the state behind s and a byte.
func (c *cache) step(s *set, b byte) *set {
	class := c.g.class[b]
	if next := s.next[class]; next != nil {
		return next
	}
	c.todo = c.todo[:0]
	for _, st := range s.stacks {
		for _, e := range c.g.nodes[st.node].edges {
			if e.lo <= b && b <= e.hi {
				c.todo = append(c.todo, item{node: e.to, on: st.on})
			}
		}
	}
	next := c.close()
	s.next[class] = next
	return next
}

// close follows everything to do until each stack is at a node that takes a byte, first come first kept.
func (c *cache) close() *set {
	s := &set{}
	clear(c.seen)
	for left, right := 0, len(c.todo)-1; left < right; left, right = left+1, right-1 {
		c.todo[left], c.todo[right] = c.todo[right], c.todo[left]
	}
	for len(c.todo) > 0 {
		it := c.todo[len(c.todo)-1]
		c.todo = c.todo[:len(c.todo)-1]
		if c.g.need[it.node] == never {
			continue
		}
		if it.on.height()+c.g.need[it.node] > maxDepth {
			s.cut = true
			continue
		}
		if _, ok := c.seen[it]; ok {
			continue
		}
		c.seen[it] = struct{}{}
		s.deepest = max(s.deepest, it.on.height())
		c.follow(s, it)
	}
	if s.dead() {
		return c.none
	}
	return c.keep(s)
}

func (c *cache) follow(s *set, it item) {
	switch n := &c.g.nodes[it.node]; n.op {
	case opEnd:
		switch it.on {
		case nil:
			s.accept = true
		case c.bottom:
			s.exit = true
		default:
			c.todo = append(c.todo, item{it.on.ret, it.on.count, it.on.below})
		}
	case opBytes:
		if len(s.stacks) == maxStacks {
			s.cut = true
			return
		}
		s.stacks = append(s.stacks, stack{it.node, it.on})
	case opSplit:
		for i := len(n.to) - 1; i >= 0; i-- {
			c.todo = append(c.todo, item{node: n.to[i], on: it.on})
		}
	case opCall:
		c.todo = append(c.todo, item{node: n.sub, on: c.push(n.next, 0, it.on)})
	case opLoop:
		if it.count >= n.min {
			c.todo = append(c.todo, item{node: n.next, on: it.on})
		}
		if n.max < 0 || it.count < n.max {
			count := it.count + 1
			if n.max < 0 {
				count = min(count, n.min)
			}
			c.todo = append(c.todo, item{node: n.sub, on: c.push(it.node, count, it.on)})
		}
	}
}

// bring makes a set that was kept before the cache was emptied one of the cache.
func (c *cache) bring(old *set) *set {
	s := &set{accept: old.accept, exit: old.exit, cut: old.cut, deepest: old.deepest}
	for _, st := range old.stacks {
		s.stacks = append(s.stacks, stack{st.node, c.bringFrame(st.on)})
	}
	return c.keep(s)
}

func (c *cache) bringFrame(f *frame) *frame {
	if f == nil || f == c.bottom {
		return f
	}
	return c.push(f.ret, f.count, c.bringFrame(f.below))
}
