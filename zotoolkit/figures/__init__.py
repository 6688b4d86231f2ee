"""What figures share wherever they are drawn: their frame, their labels, their colours, their files."""

from zotoolkit.figures.drawing import Drawing

__all__ = ["Drawing"]
