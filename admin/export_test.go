package admin

// NoteRefusals ends the time that refused calls are summed up for.
func (h *Handler) NoteRefusals() { h.noteRefusals() }
