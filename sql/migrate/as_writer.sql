-- Makes the writer the owner of what the rest of the transaction creates. Returns nothing.
-- Placeholders: writer.
set local role {writer};
