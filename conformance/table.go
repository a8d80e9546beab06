package main

import (
	"fmt"
	"strings"
)

// preamble stands above the table.
const preamble = `# What clients can do

Real clients, as they are published, against a fleet of real processes: a coordinator, two nodes, a gateway, and eight small models, two of them
cut over both nodes. ` + "`make conformance`" + ` fetches the clients, runs them, and writes this page; nothing in it is written by hand.

`

// table is the page: a line for each client, then a line for each check.
func table(all []outcome) string {
	var b strings.Builder
	b.WriteString(preamble)
	b.WriteString("| client | version | passed | failed | not run |\n| --- | --- | --- | --- | --- |\n")
	for _, o := range all {
		passed, failed, skipped := 0, 0, 0
		for _, c := range o.checks {
			switch {
			case c.Skipped:
				skipped++
			case c.OK:
				passed++
			default:
				failed++
			}
		}
		if o.notRun != "" {
			fmt.Fprintf(&b, "| %s | | | | %s |\n", o.subject.name, cell(o.notRun))
			continue
		}
		fmt.Fprintf(&b, "| %s | %s | %d | %d | %s |\n", o.subject.name, cell(o.version), passed, failed, some(skipped))
	}
	b.WriteString("\n## Check by check\n\n| client | check | |\n| --- | --- | --- |\n")
	for _, o := range all {
		for _, c := range o.checks {
			result := "pass"
			switch {
			case c.Skipped:
				result = "not run: " + cell(c.Why)
			case !c.OK:
				result = "**fail**: " + cell(c.Why)
			}
			fmt.Fprintf(&b, "| %s | %s | %s |\n", o.subject.name, cell(c.Check), result)
		}
	}
	return b.String()
}

func some(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}

// cell makes a text fit into a cell.
func cell(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > maxTold {
		text = strings.ToValidUTF8(text[:maxTold], "") + "…"
	}
	return strings.NewReplacer("|", `\|`, "<", "&lt;", "`", "'").Replace(text)
}
