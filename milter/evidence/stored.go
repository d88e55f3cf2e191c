package evidence

// StoredEnvelope is [EnvelopeOf] for the header of a whole message that lies in a
// mailbox, as [Engine.JudgeStored] takes it.
func StoredEnvelope(data []byte) Envelope { return EnvelopeOf(scanHeader(data)) }
