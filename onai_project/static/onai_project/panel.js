/* unfold writes a chosen file's name into its own widget's text field, and fails where the browser's own field stands. */
"use strict";

document.addEventListener(
    "change",
    (event) => {
        if (event.target.matches(".panel input[type=file]")) event.stopPropagation();
    },
    true,
);
