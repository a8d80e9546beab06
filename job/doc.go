// Package job decides about batches of requests: what of them is refused, who works them and until when, what is done next, and how what
// comes out is laid down so that every line is answered exactly once.
//
// A batch is a document that many may want to change; whoever changes it names the revision that it has seen, so that of two one fails. A
// batch's progress is one such change: how many bytes of the input are answered, and of which parts the output consists. What was computed
// and not laid down when its owner died is computed again by the next one, and was never in the output.
package job
