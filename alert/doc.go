// Package alert is the watching loop of the leader: it evaluates rules over measured series, and says which incidents open and end, whom to tell, and what to do.
//
// A rule's expression is CEL (github.com/google/cel-spec), parsed and type-checked by cel-go, in a form that is also PromQL: numbers,
// + - * /, comparisons, && and ||, and functions of series with literal arguments (Functions). Loops, strings, lists and
// everything else of CEL are refused when a rule is made, with the reason. So no rule can run long: its work is bounded by its text
// (MaxExpr, MaxNodes, MaxCalls), and a step of the loop by MaxEvaluations; what is left comes in the next step.
//
// A series without values, and a comparison with it, is unknown: "unknown && false" is false, "unknown || true" is true, as CEL has it
// for errors, and PromQL for empty vectors. A rule whose condition is unknown does not fire.
//
// The caller, a coordinator, has these duties:
//
//  1. Call Step with the documents of the newest state, at Output.NextWake at the latest. Term is 0 unless it leads.
//  2. Commit each Transition with its incident's Rev as the revision it was based on: a transition of an incident with an Act in one
//     transaction with what the act does. One that is not committed comes again by itself. If what an act does is rejected, not only the
//     revision of the incident, say so in Input.Failed.
//  3. Send each Notification and hand the outcome back in Input.Sent. The same notification has the same ID also after a failover:
//     receivers drop what they know by it.
//  4. Delete the incidents of Output.Forget.
//  5. Show Output.Notes.
package alert
