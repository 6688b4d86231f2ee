"""What figures share wherever they are drawn: their frame, their labels, their colours, their files."""
