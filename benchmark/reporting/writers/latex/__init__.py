"""Tables for papers in LaTeX: text and its width, cells, the layout that fits a page, pages."""
