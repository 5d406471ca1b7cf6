/* The copy button. Without this file it stays hidden, and the address can be selected. */
"use strict";

for (const button of document.querySelectorAll("[data-copy]")) {
    const title = button.textContent;
    button.hidden = false;
    button.addEventListener("click", async () => {
        try {
            await navigator.clipboard.writeText(button.dataset.copy);
        } catch {
            // No clipboard for pages without TLS: select the address, as a person would.
            const address = button.closest(".link").querySelector(".address");
            address.focus();
            address.select();
            document.execCommand("copy");
        }
        button.textContent = button.dataset.done;
        setTimeout(() => { button.textContent = title; }, 2000);
    });
}
