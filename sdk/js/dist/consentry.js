"use strict";(()=>{var o={mount(n){}};window.consentry??(window.consentry=o);})();
